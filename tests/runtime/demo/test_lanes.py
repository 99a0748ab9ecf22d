"""How many questions are answered at once, and what becomes of the rest."""

import threading

import anyio
import pytest

from maskedge.demo.answers import Refusal
from maskedge.demo.lanes import Lane
from maskedge.demo.limits import MAX_WAITING


def test_no_more_are_answered_at_once_than_the_lane_is_wide_and_who_comes_too_late_is_told() -> None:
    running, most, lock, go_on = 0, 0, threading.Lock(), threading.Event()

    def ask(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(10)
        with lock:
            running -= 1
        return number * number

    async def crowd() -> tuple[list[int], list[str]]:
        lane = Lane(3)
        found: list[int] = []
        refused: list[str] = []

        async def visitor(number: int) -> None:
            try:
                found.append(await lane.answer(ask, number))
            except Refusal as refusal:
                refused.append(str(refusal))

        async with anyio.create_task_group() as visitors:
            for number in range(MAX_WAITING + 10):
                visitors.start_soon(visitor, number)
            await anyio.sleep(0.2)
            go_on.set()
        return found, refused

    found, refused = anyio.run(crowd)
    assert most == 3
    assert ["try again" in line for line in refused] == [True] * 7
    assert sorted(found) == [number * number for number in range(MAX_WAITING + 3)]


def test_an_answer_s_error_is_raised_to_whoever_asked() -> None:
    async def ask() -> None:
        await Lane(1).answer(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        anyio.run(ask)
