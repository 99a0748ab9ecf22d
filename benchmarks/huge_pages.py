"""A batch's time with the memory of a graph in pages of 4 kB and of 2 MB, in both engines.

    .venv/bin/python benchmarks/huge_pages.py --out docs/results/huge_pages.json

Each measurement is a process of its own, on one thread: it runs batches until its memory has had time to be moved, then
for the figure. All take turns over `--rounds` rounds, in an order drawn for each. The BERT-base's bundle is the one
that `make bench` has exported.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from harness.machine import machine
from roofline import LENGTH, ROWS, exported, opened
from timing import seconds_of

from maskedge.bundle.engine import EngineName, graph_inputs
from maskedge.kernels.pages import SETTING, SWITCH

ENGINES: tuple[EngineName, ...] = ("onnxruntime", "openvino")
PAGES = {"small": "0", "huge": "1"}
"""The value of the switch."""
WARM_SECONDS = 4.0
"""Of running before the figure: memory is moved after one second of it and after two."""
BATCHES = 9


@dataclass(frozen=True, slots=True)
class Measured:
    """A graph in an engine, in pages of a kind."""

    model: str
    engine: EngineName
    pages: str


def main(
    bundle: Annotated[
        Path | None, typer.Option(help="A BERT-base's.", show_default="as exported by make bench")
    ] = None,
    rounds: Annotated[int, typer.Option()] = 5,
    only: Annotated[str | None, typer.Option(hidden=True, help="One measurement, as JSON.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/huge_pages.json"),
) -> None:
    """Measure, and write the figures."""
    bundles = {"bert-base": bundle or exported(), "default": None}
    if only is not None:
        print(json.dumps(figures_here(Measured(**json.loads(only)), bundles)))
        return
    kinds = [Measured(model, engine, pages) for model in bundles for engine in ENGINES for pages in PAGES]
    turns = [kind for number in range(rounds) for kind in random.Random(number).sample(kinds, len(kinds))]
    found: dict[Measured, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for kind in turns:
        found[kind].append(in_a_process(kind, bundles["bert-base"]))
        print(kind, found[kind][-1])
    figures = {
        "machine": machine(),
        "setting": SETTING.read_text(encoding="utf-8").strip(),
        "batch": {"rows": ROWS, "length": LENGTH},
        "rounds": rounds,
        "measured": [asdict(kind) | medians(each) for kind, each in found.items()],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def in_a_process(kind: Measured, bundle: Path | None) -> dict[str, float]:
    """The figures of one measurement, in a new process whose pages are of that kind."""
    command = [sys.executable, __file__, "--only", json.dumps(asdict(kind)), "--bundle", str(bundle)]
    environment = os.environ | {SWITCH: PAGES[kind.pages]}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures: dict[str, float] = json.loads(ran.stdout)
    return figures


def figures_here(kind: Measured, bundles: dict[str, Path | None]) -> dict[str, float]:
    """A batch's median time, and what is resident then."""
    graph = opened(bundles[kind.model], kind.engine).graph
    ids = np.random.default_rng(0).integers(1000, 6000, (ROWS, LENGTH))
    inputs = graph_inputs(ids, [[LENGTH // 2]] * ROWS, [[[5]]] * ROWS, 5)

    def batch() -> Any:
        return graph.run(["top_ids"], inputs)

    until = time.perf_counter() + WARM_SECONDS
    while time.perf_counter() < until:
        batch()
    seconds = statistics.median([seconds_of(batch) for _ in range(BATCHES)])
    return {"seconds": seconds, "megabytes": resident() / 1e6}


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def medians(figures: list[dict[str, float]]) -> dict[str, Any]:
    """Of each figure over the rounds, and of the time the least and the most."""
    seconds = [each["seconds"] for each in figures]
    return {name: statistics.median([each[name] for each in figures]) for name in figures[0]} | {
        "least_seconds": min(seconds),
        "most_seconds": max(seconds),
    }


if __name__ == "__main__":
    typer.run(main)
