"""The threads that run batches."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
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

    def map(self, function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        """The function's value for each item, in order. Items are made while the function runs of those before. In a
        shared pool the items of earlier calls come first."""
        if self.pool is not None:
            return _in_pool(self.pool, function, items)
        rest = iter(items)
        first = list(islice(rest, 2))
        # One item alone is done in the calling thread: a pool takes time to start.
        if len(first) < 2 or self.threads < 2:
            return [function(item) for item in chain(first, rest)]
        with ThreadPoolExecutor(self.threads) as pool:
            return _in_pool(pool, function, chain(first, rest))


def _in_pool(pool: Executor, function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    futures: list[Future[Out]] = []
    try:
        for item in items:
            futures.append(pool.submit(function, item))
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
