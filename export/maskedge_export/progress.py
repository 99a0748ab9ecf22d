"""Who is told how far a long piece of work is."""

from collections.abc import Callable

__all__ = ["Progress"]

Progress = Callable[[str], None]
"""Told, in words, what begins."""
