"""Does a predictor that runs for long grow, or change its mind? Eight threads ask it mixed things, and each answer is
compared with the first one; meanwhile the demo's server has fifty visitors, whose answers are compared too.

    .venv/bin/python benchmarks/long_run.py --minutes 30 --out docs/results/long_run.json

Writes figures as JSON, and memory over time as a picture.
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import matplotlib as mpl
import typer
from demo_load import Visitor, at_leisure
from served_demo import serving_demo
from watching import own_processes, resident_megabytes

from maskedge import Predictor
from maskedge.bundle.threads import usable_cpus

mpl.use("Agg")
from matplotlib import pyplot as plt

SENTENCES = (Path(__file__).parents[1] / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()
THREADS = 8
VISITORS = 50
LENGTHS = (3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 512)
"""Tokens of texts that are filled."""
LOOKS = 400
"""At the memory, in all."""

Question = tuple[str, Callable[[Predictor], object]]
"""Its kind, and how it is asked."""
Memory = list[tuple[float, float]]
"""Seconds, resident megabytes."""


def main(
    minutes: Annotated[float, typer.Option(help="For both, at once.")] = 30,
    out: Annotated[Path, typer.Option()] = Path("build/long_run.json"),
) -> None:
    """Run both, and write figures and picture."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:  # each has memory of its own
        runs = [processes.submit(run, 60 * minutes) for run in (of_predictor, of_demo)]
        predictor, demo = (run.result() for run in runs)
    figures: dict[str, Any] = {
        "cpus": usable_cpus(),
        "minutes": minutes,
        "model": Predictor.load().name,
        "predictor": predictor,
        "demo": demo,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw(figures, out.with_suffix(".png"))
    print(json.dumps({name: {**figures[name], "memory": ...} for name in ("predictor", "demo")}, default=str, indent=1))


def of_predictor(seconds: float) -> dict[str, Any]:
    """What the threads saw."""
    predictor, asked = Predictor.load(), list(questions())
    expected = [ask(predictor) for _, ask in asked]
    end = time.monotonic() + seconds

    def keep_asking(seed: int) -> tuple[Counter[str], int]:
        chance, kinds, changed = random.Random(seed), Counter[str](), 0
        while time.monotonic() < end:
            number = chance.randrange(len(asked))
            kind, ask = asked[number]
            kinds[kind] += 1
            changed += ask(predictor) != expected[number]
        return kinds, changed

    with watched([os.getpid()], seconds) as memory, ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(keep_asking, range(THREADS)))
    kinds = sum((kinds for kinds, _ in found), Counter[str]())
    return {"threads": THREADS, "asked": dict(kinds), "changed": sum(changed for _, changed in found), **growth(memory)}


def questions() -> Iterator[Question]:
    """Of every kind some."""
    for sentence in SENTENCES[:40]:
        first, second, *rest = sentence.split()
        masked, rest_of_it = f"{first} [MASK] {' '.join(rest)}", " ".join(rest)
        yield "fill", partial(Predictor.fill, texts=[masked])
        yield "targets", partial(Predictor.fill, texts=[masked], targets=[second, "unbelievably"])
        yield "joint", partial(Predictor.fill_jointly, texts=[f"{first} [MASK] [MASK] {rest_of_it}"])
        yield "score", partial(Predictor.score, texts=[sentence])
    words = " ".join(SENTENCES).split()
    for length in LENGTHS:
        yield "lengths", partial(Predictor.fill, texts=[" ".join(["[MASK]", *words[: length - 3]])])


def of_demo(seconds: float) -> dict[str, Any]:
    """What the visitors saw."""
    model = Predictor.load().name
    with serving_demo(None) as address:
        host, port = address.removeprefix("http://").split(":")
        server = list(own_processes("\0".join([sys.executable, "-m", "maskedge", "demo"]).encode()))
        with watched(server, seconds) as memory:
            answers, changed = asyncio.run(visits((host, int(port)), model, seconds))
    return {"visitors": VISITORS, "answers": answers, "changed": changed, **growth(memory)}


async def visits(address: tuple[str, int], model: str, seconds: float) -> tuple[int, int]:
    """How many predictions they were given, and how many answers were others than the first to that question."""
    visitors = [Visitor(number, address, model) for number in range(VISITORS)]
    for visitor in visitors:
        visitor.first = visitors[0].first
        await visitor.come()
    predictions = len(await at_leisure(visitors, seconds))
    return predictions, sum(visitor.changed for visitor in visitors)


@contextmanager
def watched(processes: list[int], seconds: float) -> Iterator[Memory]:
    """Their memory together, looked at while the block runs."""
    memory: Memory = []
    done, start = threading.Event(), time.monotonic()

    def look() -> None:
        while not done.wait(seconds / LOOKS):
            memory.append((time.monotonic() - start, sum(map(resident_megabytes, processes))))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()


def growth(memory: Memory) -> dict[str, Any]:
    """The most, and by how much the mean of the last quarter is above that of the second."""
    quarter = len(memory) // 4
    second, last = (
        fmean(megabytes for _, megabytes in part) for part in (memory[quarter : 2 * quarter], memory[-quarter:])
    )
    kept = [[round(at, 1), round(megabytes, 1)] for at, megabytes in memory]
    return {"peak_megabytes": max(megabytes for _, megabytes in memory), "growth": last - second, "memory": kept}


def draw(figures: dict[str, Any], path: Path) -> None:
    """Memory over time."""
    picture, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for name, colour in {"predictor": "#2f6f73", "demo": "#b45309"}.items():
        minutes, megabytes = zip(*((at / 60, most) for at, most in figures[name]["memory"]), strict=True)
        axes.plot(minutes, megabytes, color=colour, label=name)
    axes.set_xlabel("minutes")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, dpi=150)


if __name__ == "__main__":
    typer.run(main)
