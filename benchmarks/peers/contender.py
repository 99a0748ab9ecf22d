"""What a contender is: a module of this folder with `prepare`, `variants` and `load`.

It is run by the interpreter of its own environment: this module needs the standard library only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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


class FillsMasks(Protocol):
    """A model that is open, and fills masks."""

    def fill(self, texts: list[str]) -> list[int]:
        """The id of the best token at the mask of each text; five are found, with their probabilities."""
        ...


class ScoresSentences(Protocol):
    """A model that is open, and scores sentences."""

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text, nats."""
        ...


Contender = FillsMasks | ScoresSentences
"""What `load` gives: what its variant is asked for is in its workloads."""
