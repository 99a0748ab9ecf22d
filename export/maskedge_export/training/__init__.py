"""The training loop, and adaptation to somebody's own text."""
