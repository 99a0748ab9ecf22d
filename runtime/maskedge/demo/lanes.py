"""How many questions are answered at once, and how many may wait."""

from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from maskedge.demo.answers import Refusal
from maskedge.demo.limits import MAX_WAITING

__all__ = ["Lane"]


class Lane:
    """Answers so many questions at once, each in a thread. Those that wait take none."""

    def __init__(self, width: int) -> None:
        self._limiter = CapacityLimiter(width)
        self._room = width + MAX_WAITING
        """For so many more."""

    async def answer(self, question: Callable[..., Any], *values: Any) -> Any:
        """What a question gives of some values, when its turn has come. Raises Refusal where too many wait."""
        if not self._room:
            raise Refusal("Too many questions at once: try again in a moment.")
        self._room -= 1
        try:
            return await run_sync(partial(question, *values), limiter=self._limiter)
        finally:
            self._room += 1
