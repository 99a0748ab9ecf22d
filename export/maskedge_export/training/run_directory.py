"""The directory of a training run: what it was asked for, its log, its checkpoints and the model it ends with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskedge.plain_json import plain_json
from maskedge_export.errors import ResumeError
from maskedge_export.recipe import Recipe
from maskedge_export.training.snapshot import latest_snapshot, remove_partial_snapshots

__all__ = ["RunDirectory"]

FREE_KEYS = ("weights", "log_every", "evaluate_every", "save_every")
"""Keys of [run] that change nothing about the training, so that a resumed run may change them."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of a run, and the little that is written there besides checkpoints."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """One directory `step-N` for each of the last checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model at the end."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def picture(self) -> Path:
        """The loss curve."""
        return self.path / "loss.png"

    @property
    def identity(self) -> Path:
        """The recipe, and the fingerprints of the corpus and of what it started from."""
        return self.path / "run.json"

    def check(self, *, resume: bool) -> None:
        """Raises ResumeError where there is a run and none is to be resumed, or none where one is."""
        if self.identity.is_file() and not resume:
            raise ResumeError(f"{self.path} holds a run already; go on with --resume, or choose another --out")
        if resume and not self.identity.is_file():
            raise ResumeError(f"{self.path} holds no run to resume; start one without --resume")

    def begin(self, recipe: Recipe, corpus: str, start: str) -> None:
        """Record what the run is; or, where it began before, that it still is, and forget what its next checkpoint
        will not know of. `corpus` and `start` are the fingerprints of the text and of the checkpoint that it goes on
        from, empty for none. Raises ResumeError where any of them is not what it was."""
        new = {"recipe": _comparable(recipe), "corpus": corpus, "start": start}
        if not self.identity.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            self.identity.write_text(json.dumps(new, indent=1), encoding="utf-8")
        old = json.loads(self.identity.read_text(encoding="utf-8"))
        if changes := _changes(old, json.loads(json.dumps(new))):
            raise ResumeError(f"{self.path} cannot be resumed with another {', '.join(changes)}; choose another --out")
        remove_partial_snapshots(self.checkpoints)
        step = (self.latest() or (0, None))[0]
        lines = [plain_json(entry) + "\n" for entry in self.entries() if entry["step"] <= step]
        self.log.write_text("".join(lines), encoding="utf-8")

    def latest(self) -> tuple[int, Path] | None:
        """The last checkpoint's step and directory."""
        return latest_snapshot(self.checkpoints)

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line to the log."""
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(plain_json(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """The log so far; a line that a kill cut short is left out."""
        if not self.log.is_file():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("}\n")]


def _comparable(recipe: Recipe) -> dict[str, Any]:
    sections = recipe.as_dict()
    for key in FREE_KEYS:
        del sections["run"][key]
    # their content counts, and stands in the fingerprint
    del sections["corpus"]["files"], sections["tokenizer"]["existing"], sections["model"]["start"]
    return sections


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    defaults = json.loads(json.dumps(_comparable(Recipe())))  # of keys that came after the run began
    changes = [
        f"{section}.{key}"
        for section, options in new["recipe"].items()
        for key, value in options.items()
        if old["recipe"].get(section, {}).get(key, defaults[section][key]) != value
    ]
    files = {"corpus": "corpus", "start": "model.start"}
    return changes or [name for key, name in files.items() if old.get(key, "") != new[key]]
