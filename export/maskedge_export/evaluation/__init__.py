"""What is measured, on which text, and against what."""
