"""A contender's process: answers requests, one JSON object a line, until its standard input ends.

    python -P -m peers openvino

Requests, and what their answers hold in `ok` (or why there is none, in `error`):

- `{"do": "prepare", "model": ...}`          -> null, when what is loaded has been made of the checkpoint
- `{"do": "variants", "model": ...}`         -> {variant: workloads}: what the contender offers of the model
- `{"do": "load", "model": ..., "variant"}`  -> null
- `{"do": "fill", "texts": [...]}`           -> {"seconds", "tokens"}: the best token of each text's mask
- `{"do": "fill_each", "texts": [...]}`      -> {"seconds": [...]}: of each text, one at a time
- `{"do": "score", "texts": [...]}`          -> {"seconds", "scores"}: the pseudo-log-likelihood of each text, nats
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

from peers.contender import LeftOutError, Model, Variants

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer until the input ends. Whatever libraries print goes to standard error."""
    if sys.platform == "linux":  # a process that is stopped would not see that its parent has ended
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    program = Program(import_module(f"peers.{sys.argv[1]}"))
    for line in sys.stdin:
        answer(program, json.loads(line), answers)


def answer(program: "Program", request: dict[str, Any], answers: TextIO) -> None:
    """Do what is asked, and write what came of it."""
    try:
        result: dict[str, Any] = {"ok": getattr(program, request.pop("do"))(**request)}
    except LeftOutError as error:
        result = {"error": str(error)}
    except Exception as error:
        import traceback

        traceback.print_exc()
        first = (str(error).strip() or "?").splitlines()[0]
        result = {"error": f"{type(error).__name__}: {first}"}
    answers.write(json.dumps(result) + "\n")
    answers.flush()


class Program:
    """The requests as methods."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.contender: Any = None

    def prepare(self, model: dict[str, Any]) -> None:
        """Make what the contender loads."""
        given = Model.from_json(model)
        given.directory.mkdir(parents=True, exist_ok=True)
        self.peer.prepare(given)

    def variants(self, model: dict[str, Any]) -> Variants:
        """What the contender offers, of what was made."""
        offered: Variants = self.peer.variants(Model.from_json(model))
        return offered

    def load(self, model: dict[str, Any], variant: str) -> None:
        """Open the model."""
        self.contender = self.peer.load(Model.from_json(model), variant)

    def fill(self, texts: list[str]) -> dict[str, Any]:
        """Fill all texts in one call."""
        seconds, tokens = timed(self.opened.fill, texts)
        return {"seconds": seconds, "tokens": tokens}

    def fill_each(self, texts: list[str]) -> dict[str, Any]:
        """Fill one text after the other."""
        return {"seconds": [timed(self.opened.fill, [text])[0] for text in texts]}

    def score(self, texts: list[str]) -> dict[str, Any]:
        """Score all texts in one call."""
        seconds, scores = timed(self.opened.score, texts)
        return {"seconds": seconds, "scores": scores}

    @property
    def opened(self) -> Any:
        """The contender that `load` opened."""
        assert self.contender is not None, "nothing is loaded"
        return self.contender


def timed(function: Callable[[list[str]], Any], texts: list[str]) -> tuple[float, Any]:
    """Seconds that a call took, and what it returned."""
    started = time.perf_counter()
    result = function(texts)
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
