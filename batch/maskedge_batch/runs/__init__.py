"""A job from beginning to end."""
