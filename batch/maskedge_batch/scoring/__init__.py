"""The pure core: rows -> the same rows with their scores."""
