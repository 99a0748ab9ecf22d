"""The type of callbacks that are told how far a long piece of work is."""

from collections.abc import Callable

__all__ = ["Progress"]

Progress = Callable[[str], None]
"""Called with the name of each step as it begins."""
