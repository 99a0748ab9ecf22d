"""Work on a stream, several items at a time, the results in the stream's order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(
    function: Callable[[In], Out],
    items: Iterator[In],
    *,
    at_once: int,
    size: Callable[[In], int],
    budget: int,
    abandon: Callable[[], object],
) -> Iterator[Out]:
    """The function's value for each item, in order, made in threads while the items before are used.

    Args:
        function: Called in several threads.
        items: Read in a thread of their own, one ahead.
        at_once: How many items are worked on at a time. One more may be done and wait to be used.
        size: Of an item, in any unit.
        budget: Most that the items worked on, and those whose results were not yet used, may have in that unit; an item
            that is larger is worked on alone.
        abandon: Called where no more results are wanted, after an error for example, to end calls that are running.
    """
    waiting: deque[tuple[Future[Out], int]] = deque()
    held = 0
    with ThreadPoolExecutor(1, "maskedge-read") as reader, ThreadPoolExecutor(at_once, "maskedge-score") as workers:
        try:
            upcoming = reader.submit(next, items, None)
            while (item := upcoming.result()) is not None:
                upcoming = reader.submit(next, items, None)
                while waiting and (len(waiting) > at_once or held + size(item) > budget):
                    yield waiting[0][0].result()
                    held -= waiting.popleft()[1]
                waiting.append((workers.submit(function, item), size(item)))
                held += size(item)
            while waiting:
                yield waiting[0][0].result()
                waiting.popleft()
        finally:
            if waiting:
                abandon()
            for future, _ in waiting:
                future.cancel()
