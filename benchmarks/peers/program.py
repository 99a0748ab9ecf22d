"""A contender's process: answers requests, one JSON object a line, until its standard input ends.

    python -P -m peers.program openvino

The contenders are the other modules of this folder. Each has `prepare`, `variants` and `load`, and this program times
what `load` returns. It is run by the interpreter of the contender's own environment, so it needs the standard library
only.

Requests, and what their answers hold in `ok` (or why there is none, in `error`):

- `{"do": "prepare", "model": ...}`          -> null, when what is loaded has been made of the checkpoint
- `{"do": "variants", "model": ...}`         -> {variant: workloads}: what the contender offers of the model
- `{"do": "load", "model": ..., "variant"}`  -> null
- `{"do": "fill", "texts": [...]}`           -> {"seconds", "tokens"}: the best token of each text's mask
- `{"do": "fill_each", "texts": [...]}`      -> {"seconds": [...]}: of each text, one at a time
- `{"do": "score", "texts": [...]}`          -> {"seconds", "scores"}: the pseudo-log-likelihood of each text, nats
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TextIO

__all__ = ["FILL", "SCORE", "Contender", "LeftOutError", "Model", "Variants"]

FILL = ("sentences", "lengths", "one", "cold")
"""The workloads of what fills masks, in batches and one text at a time."""
SCORE = ("pll",)
"""The workload of what scores sentences."""

Variants = Mapping[str, Sequence[str]]
"""The ways that a contender offers to run a model, by the name that the table has, and the workloads of each."""


class LeftOutError(Exception):
    """A contender cannot run a model or this machine, and says why."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a contender is given to run."""

    name: str
    checkpoint: Path
    """In Hugging Face's format."""
    directory: Path
    """Where the contender keeps what it made of the checkpoint."""
    calibration: Path
    """Sentences to calibrate with, one a line; none of them is measured."""
    threads: int
    """How many the contender may use."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Model":
        """The model of a request."""
        paths = {name: Path(fields[name]) for name in ("checkpoint", "directory", "calibration")}
        return cls(fields["name"], threads=fields["threads"], **paths)

    @property
    def config(self) -> dict[str, Any]:
        """The checkpoint's configuration."""
        config: dict[str, Any] = json.loads((self.checkpoint / "config.json").read_text(encoding="utf-8"))
        return config

    @property
    def mask_token(self) -> str:
        """As texts spell it."""
        given = json.loads((self.checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))["mask_token"]
        return str(given["content"] if isinstance(given, dict) else given)

    def calibration_texts(self, count: int) -> list[str]:
        """The first so many sentences."""
        return self.calibration.read_text(encoding="utf-8").splitlines()[:count]


class Contender(Protocol):
    """A model that is open: fills masks, or scores sentences, or both."""

    def fill(self, texts: list[str]) -> list[int]:
        """The id of the best token at the mask of each text; five are found, with their probabilities."""
        ...

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text, nats."""
        ...


def main() -> None:
    """Answer until the input ends. Whatever libraries print goes to standard error."""
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
        self.contender: Contender | None = None

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
    def opened(self) -> Contender:
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
