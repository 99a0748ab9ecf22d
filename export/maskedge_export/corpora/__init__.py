"""Text -> masked rows to train on."""
