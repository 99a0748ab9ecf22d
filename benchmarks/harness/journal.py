"""What has been measured, written line by line as it is measured, so that a run that was killed goes on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Journal", "Measurement"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One answer of a contender."""

    model: str
    entry: str
    workload: str
    round: int
    """From 0, which warms up and does not count."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """What was measured."""
    failed: str = ""
    """Why nothing was."""


class Journal:
    """A file of measurements, which belong to one machine, one set of rows and one state of this project."""

    def __init__(self, path: Path, identity: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Goes on with the file if its identity has nothing else in the same place, and else puts it aside.

        So a run of one model keeps what was measured of others. What failed is tried again.
        """
        self.path = path
        self.measurements: list[Measurement] = []
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() and not fresh else []
        known: dict[str, Any] = json.loads(lines[0]) if lines else {}
        if lines and all(known.get(name, value) == value for name, value in identity.items()):
            identity = known | dict(identity)
            earlier = (Measurement(**json.loads(line)) for line in whole(lines[1:]))
            self.measurements = [measurement for measurement in earlier if not measurement.failed]
        elif path.is_file():
            path.replace(path.with_name(f"{path.name}.before"))
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [json.dumps(asdict(measurement)) for measurement in self.measurements]
        path.write_text("\n".join([json.dumps(identity), *kept]) + "\n", encoding="utf-8")

    def add(self, measurement: Measurement) -> None:
        """Write a measurement."""
        self.measurements.append(measurement)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(measurement)) + "\n")

    def of(self, model: str, workload: str) -> list[Measurement]:
        """All measurements of a model's workload."""
        return [each for each in self.measurements if (each.model, each.workload) == (model, workload)]

    def knows(self, label: str) -> bool:
        """Whether a contender of this name was measured, whose entries' names begin with it."""
        return any(each.entry.startswith(f"{label}, ") for each in self.measurements)

    def has(self, model: str, workload: str, entry: str, number: int) -> bool:
        """Whether an entry has had its turn in a round, or has failed before."""
        turns = (each for each in self.of(model, workload) if each.entry == entry)
        return any(each.round == number or each.failed for each in turns)


def whole(lines: list[str]) -> Iterator[str]:
    """Without the last line where a kill cut it."""
    for line in lines:
        if line.endswith("}"):
            yield line
