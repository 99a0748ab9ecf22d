"""The threads that run batches."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Workers"]

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads that do things at once: those of a pool that several calls share, or each call's own."""

    threads: int
    pool: Executor | None = None
    """Has that many threads. None: each call starts its own, and leaves none behind, so that a process may fork."""

    def map(self, function: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
        """The function's value for each item, in order. In a shared pool the items of earlier calls come first."""
        if self.pool is not None:
            return list(self.pool.map(function, items))
        # One item alone is done in the calling thread: a pool takes time to start.
        if len(items) < 2 or self.threads < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, items))
