"""Work on a stream: results in order whatever takes how long, no more held than may be, an end at any time."""

import threading
import time
from collections.abc import Iterator

import pytest

from maskedge_batch.scoring.in_order import in_order


def squares(items: Iterator[int], *, at_once: int = 3, budget: int = 10**9) -> Iterator[int]:
    return in_order(slow_square, items, at_once=at_once, size=lambda item: item, budget=budget, abandon=lambda: None)


def slow_square(item: int) -> int:
    time.sleep(0.002 * (item % 3))
    return item**2


@pytest.mark.parametrize("count", [0, 1, 2, 50])
@pytest.mark.parametrize("at_once", [1, 4])
def test_results_come_in_the_order_of_their_items(count: int, at_once: int) -> None:
    assert list(squares(iter(range(count)), at_once=at_once)) == [item**2 for item in range(count)]


def test_no_more_is_held_than_the_budget_allows_and_one_item_always_may() -> None:
    held = most = 0
    sizes = [3, 4, 2, 50, 1, 1, 9, 10, 3, 3, 3, 12, 1]

    def begin(item: int) -> int:
        nonlocal held, most
        held += item
        most = max(most, held if held != 50 and held != 12 else 0)
        return item

    for item in in_order(begin, iter(sizes), at_once=1, size=lambda item: item, budget=10, abandon=lambda: None):
        time.sleep(0.002)  # the worker has done by then all that it may
        held -= item
    assert 0 < most <= 10


def test_items_are_not_read_far_ahead_of_what_is_used() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for read in range(1000):  # noqa: B007
            yield 1

    results = squares(items(), at_once=2)
    for _ in range(10):
        next(results)
    time.sleep(0.05)
    assert read <= 10 + 2 + 3
    results.close()  # type: ignore[attr-defined]


def test_an_error_of_an_item_comes_in_its_place() -> None:
    def refuse(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    results = in_order(refuse, iter(range(100)), at_once=3, size=lambda _: 1, budget=100, abandon=lambda: None)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)


def test_an_error_of_the_stream_reaches_the_caller() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        list(squares(items()))


def test_what_runs_is_told_when_nobody_wants_it() -> None:
    """Without that, closing would wait for ever."""
    abandoned = threading.Event()

    def run(item: int) -> int:
        return item if item == 0 or abandoned.wait(30) else -1

    results = in_order(run, iter(range(100)), at_once=2, size=lambda _: 1, budget=100, abandon=abandoned.set)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert abandoned.is_set()
