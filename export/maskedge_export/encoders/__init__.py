"""Hugging Face checkpoints <-> PyTorch modules."""
