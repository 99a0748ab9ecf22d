"""What is written, and how it appears complete or not at all."""
