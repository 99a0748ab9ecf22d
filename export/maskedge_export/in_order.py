"""A function of many things, computed in several threads at once, and given back in the things' order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from maskedge.bundle.threads import usable_cpus

__all__ = ["in_order"]

MOST_THREADS = 4
"""Results that are computed at a time at most: a batch's activations, or its log-probabilities over a large vocabulary,
would fill the memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Of each item what the function makes of it, in the items' order; the function is called in several threads at
    once. Raises what the function raises, when that item's turn comes."""
    threads = min(usable_cpus(), MOST_THREADS)
    # A queue of one more than there are threads keeps them all busy.
    upcoming: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            upcoming.append(pool.submit(function, item))
            if len(upcoming) > threads:
                yield upcoming.popleft().result()
        while upcoming:
            yield upcoming.popleft().result()
