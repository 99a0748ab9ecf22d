"""Text -> token ids -> batches -> answers."""
