"""What is told of a job: what makes it this job, what its scores came from, and how its run went."""

import json
import platform
import time
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import PACKAGES, EngineName
from maskedge.bundle.threads import usable_cpus
from maskedge_batch.inputs.input_set import InputFile, InputSet
from maskedge_batch.inputs.selection import Selection
from maskedge_batch.reports.report import RunFacts
from maskedge_batch.runs.fingerprint import Fingerprint
from maskedge_batch.runs.model import Model
from maskedge_batch.runs.places import Places
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions

__all__ = ["Clock", "environment", "fingerprint", "model_facts", "provenance", "run_facts"]

OTHERS = ("maskedge", "tokenizers", "numpy", "pyarrow")
"""Other versions of them, and of what runs the graph, may compute or write other bytes."""

FILES_NAMED = 100
"""Beyond so many, what is said of the input's files is said of all together."""


class Clock:
    """When a run began, and how long it has taken."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC)
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start


def fingerprint(
    inputs: InputSet,
    selection: Selection,
    columns: Columns,
    model: Model,
    options: ScoringOptions,
    *,
    shard_rows: int,
) -> Fingerprint:
    """All that the bytes of a job's output depend on, under the names that a user knows it by."""
    return Fingerprint(
        {
            **_identities(inputs),
            "--columns": None if selection.columns is None else ", ".join(selection.columns),
            "--filter": selection.filter,
            "--sample": selection.sample,
            "--seed": selection.seed,
            "--limit": selection.limit,
            "what is damaged and left out": _left_out(inputs),
            "the model": model.name,
            "the bundle": model.fingerprint,
            "the precision": model.precision,
            "the runtime": model.runtime,
            "how the bundle was verified": sha256(json.dumps(dict(model.verification)).encode()).hexdigest(),
            "--text-column": columns.text,
            "--target-column": columns.target,
            "targets": "asked for" if columns.asked else "not asked for",
            "--predictions": "none" if options.top_k is None else options.top_k,
            "--method": options.method,
            "--single-piece-targets": str(options.single_piece_targets),
            "--tokens": str(options.tokens),
            "--shard-rows": shard_rows,
            **environment(model.runtime),
        }
    )


def environment(runtime: EngineName) -> dict[str, str]:
    """What of this machine the bytes depend on where that runs the graph."""
    cpu = cpu_features()
    return {**_versions(runtime), "the CPU": " ".join((cpu.architecture, *cpu.names))}


def _identities(inputs: InputSet) -> dict[str, str | int | None]:
    """Of each file, or of all together where they are many. Where the files lie does not matter, unless it tells them
    apart."""
    names = [file.shown.rstrip("/").rpartition("/")[2] for file in inputs.files]
    if len({*names}) < len(names):
        names = [file.shown for file in inputs.files]
    each: dict[str, str | int | None] = {
        f"the input {name}": "; ".join((_content(file), *(f"{key}={value}" for key, value in file.partitions)))
        for name, file in zip(names, inputs.files, strict=True)
    }
    if len(each) <= FILES_NAMED:
        return each
    return {f"the input's {len(each):,} files": sha256(json.dumps(each).encode()).hexdigest()}


def _content(file: InputFile) -> str:
    """What changes when the file's content does. The name of one that was spooled tells that of the lines."""
    return file.identity if file.shown == str(file.location) else file.location.name


def _left_out(inputs: InputSet) -> str | None:
    """Tells inputs apart of which other rows are left out, and which are cut into other shards for that."""
    if not inputs.set_aside:
        return None
    parts = [(each.file, each.row_group, each.rows) for each in inputs.set_aside]
    return f"{len(parts):,} ({sha256(json.dumps(parts).encode()).hexdigest()[:12]})"


def provenance(columns: Columns, model: Model, options: ScoringOptions) -> bytes:
    """What the scores came from, for the output's metadata. No times or paths: the same job gives the same bytes."""
    facts = {
        "model": model.name,
        "precision": model.precision,
        "runtime": model.runtime,
        "fingerprint": model.fingerprint,
        "verification": dict(model.verification),
        "maskedge": version("maskedge"),
        "options": {"text_column": columns.text, "target_column": columns.target, **asdict(options)},
    }
    return json.dumps(facts, sort_keys=True).encode()


def run_facts(name: str, places: Places, model: Model, clock: Clock, scoring_seconds: float) -> RunFacts:
    """What the reports say of the run. `name` is that of its input."""
    return RunFacts(
        **_told(name, model, clock),
        output=places.output.name,
        scoring_seconds=scoring_seconds,
        machine=f"{usable_cpus()} CPUs, {platform.machine()}, {platform.system()}",
    )


def model_facts(name: str, model: Model, clock: Clock) -> dict[str, Any]:
    """The fields of a `ModelRun`. `name` is that of its input."""
    return {
        **_told(name, model, clock),
        "model": model.name,
        "precision": model.precision,
        "runtime": model.runtime,
        "fingerprint": model.fingerprint,
    }


def _told(name: str, model: Model, clock: Clock) -> dict[str, Any]:
    """The fields of a `Run`."""
    return {
        "input": name,
        "versions": {"python": platform.python_version(), **_versions(model.runtime)},
        "started": clock.began.isoformat(timespec="seconds"),
        "wall_seconds": clock.seconds,
    }


def _versions(runtime: EngineName) -> dict[str, str]:
    return {name: _version(name) for name in (OTHERS[0], PACKAGES[runtime], *OTHERS[1:])}


def _version(package: str) -> str:
    """On another machine what runs the graph may be missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
