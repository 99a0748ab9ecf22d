"""The threads that run batches."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

__all__ = ["Workers"]

In = TypeVar("In")
Out = TypeVar("Out")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads that do things at once: those of a pool that several calls share, or each call's own."""

    threads: int
    pool: Executor | None = None
    """Has that many threads. None: each call starts its own, and leaves none behind, so that a process may fork."""

    @property
    def idle(self) -> int:
        """Threads that have nothing to do where there is one item alone."""
        return 0 if self.pool else self.threads - 1

    def map(self, function: Callable[[In], Out], items: Iterable[In], finish: Callable[[Out], Made]) -> list[Made]:
        """What `finish` makes of the function's value for each item, in order. Only the function is called in the
        threads: items are made and values finished meanwhile, by the caller, who is ahead of each thread by one item.
        In a shared pool the items of earlier calls come first."""
        if self.pool is not None:
            return self._in_pool(self.pool, function, items, finish)
        rest = iter(items)
        first = list(islice(rest, 2))
        # One item alone is done in the calling thread: a pool takes time to start.
        if len(first) < 2 or self.threads < 2:
            return [finish(function(item)) for item in chain(first, rest)]
        with ThreadPoolExecutor(self.threads) as pool:
            return self._in_pool(pool, function, chain(first, rest), finish)

    def _in_pool(
        self, pool: Executor, function: Callable[[In], Out], items: Iterable[In], finish: Callable[[Out], Made]
    ) -> list[Made]:
        begun: deque[Future[Out]] = deque()
        made: list[Made] = []
        try:
            for item in items:
                begun.append(pool.submit(function, item))
                while begun and (begun[0].done() or len(begun) > 2 * self.threads):
                    made.append(finish(begun.popleft().result()))
            while begun:
                made.append(finish(begun.popleft().result()))
            return made
        finally:
            for future in begun:
                future.cancel()
