"""Questions over HTTP: the answer is in the response to the request.

Gradio's own events are slow where many ask at once: each takes 5 ms of one thread, where the model takes 1 ms. And its
queue loses answers: they come through one stream a visitor, which is opened and closed as questions come and go, and an
answer that comes as it closes is gone, as happens to whoever types and clicks quickly. So only files go through it.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, NoReturn

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse

from maskedge.demo.answers import Refusal
from maskedge.demo.lanes import Lane
from maskedge.demo.limits import FAST_AT_ONCE, SLOW_AT_ONCE
from maskedge.demo.questions import Questions

__all__ = ["question_routes"]


def question_routes(questions: Questions) -> APIRouter:
    """`POST ask/NAME` with a JSON list of values: what the question of that name gives of them, as JSON.

    As JSON they cannot come from another site's page without its visitor's browser asking first, which is refused.
    """
    fast, slow = Lane(FAST_AT_ONCE), Lane(SLOW_AT_ONCE)
    offered: dict[str, tuple[Callable[..., Any], Lane]] = {
        "fill": (questions.fill, fast),
        "example": (questions.example, fast),
        "attention": (questions.attention, fast),
        "influence": (questions.influence, slow),
        "score": (questions.score, slow),
    }
    counts = {name: len(signature(question).parameters) for name, (question, _) in offered.items()}
    router = APIRouter()

    @router.post("/ask/{name}")
    async def ask(name: str, values: list[Any]) -> JSONResponse:
        question, lane = offered.get(name) or _refuse(404, f"There is no question {name!r}.")
        if len(values) != counts[name]:
            _refuse(422, f"The question {name} takes {counts[name]} values, not {len(values)}.")
        try:
            return JSONResponse(await lane.answer(question, *values))
        except Refusal as refusal:
            _refuse(503, str(refusal))

    return router


def _refuse(code: int, reason: str) -> NoReturn:
    raise HTTPException(code, reason)
