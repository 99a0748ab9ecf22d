"""What the bundled model takes as work grows: more rows in a call, larger batches, longer texts; on one core, on all.

    .venv/bin/python benchmarks/growth.py --out docs/results/growth.json

Each figure is the median of the rounds. Writes figures as JSON, and a picture.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import typer
from harness.machine import machine
from harness.workloads import mask_word, sentences_of, text_of
from timing import median_seconds

from maskedge import Predictor
from maskedge.bundle.engine import graph_inputs
from maskedge.bundle.threads import usable_cpus

mpl.use("Agg")
from matplotlib import pyplot as plt

EXAMPLES = Path(__file__).parents[1] / "examples" / "sentences.txt"
ROWS = (1, 4, 16, 64, 256, 1024, 4096)
"""Sentences of a call."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Rows of 32 tokens that the graph takes at once."""
LENGTHS = (8, 16, 32, 64, 128, 256, 512)
"""Tokens of a text."""
TOKENS = 16_384
"""Of all texts of a length."""
FILL = """
import json, sys
from pathlib import Path
from maskedge import Predictor
Predictor.load().fill(json.load(sys.stdin))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
"""Fills texts in a process that has nothing else, and says how much memory it took, KiB."""
COLOURS = ("#64a0a3", "#b45309")

Curve = list[tuple[int, float]]


def main(
    text: Annotated[list[Path] | None, typer.Option(help="Text or Parquet files with sentences.")] = None,
    rounds: Annotated[int, typer.Option()] = 5,
    out: Annotated[Path, typer.Option()] = Path("build/growth.json"),
) -> None:
    """Measure, and write figures and picture."""
    sentences = sentences_of(text or [EXAMPLES])
    figures = {
        "machine": machine(),
        "model": Predictor.load().name,
        "threads": {count: of_threads(count, sentences, rounds) for count in sorted({1, usable_cpus()})},
        "memory": {"lengths": [(length, megabytes(length, sentences)) for length in LENGTHS]},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw(json.loads(out.read_text(encoding="utf-8")), out.with_suffix(".png"))


def of_threads(threads: int, sentences: Sequence[str], rounds: int) -> dict[str, Curve]:
    """All curves with so many threads."""
    predictor = Predictor.load(threads=threads)
    masked = [mask_word(sentence, predictor.mask_token) for sentence in sentences]
    masked *= -(-max(ROWS) // len(masked))
    return {
        "rows": [(rows, rows / median_seconds(partial(predictor.fill, masked[:rows]), rounds)) for rows in ROWS],
        "lengths": [(length, tokens_per_second(predictor, length, sentences, rounds)) for length in LENGTHS],
        **({"batches": [(rows, batch_rate(predictor, rows, rounds)) for rows in BATCHES]} if threads == 1 else {}),
    }


def tokens_per_second(predictor: Predictor, length: int, sentences: Sequence[str], rounds: int) -> float:
    """Of texts that all have so many tokens."""
    texts = texts_of(predictor, length, sentences)
    return len(texts) * length / median_seconds(partial(predictor.fill, texts), rounds)


def texts_of(predictor: Predictor, length: int, sentences: Sequence[str]) -> list[str]:
    """Texts of so many tokens with a mask each."""
    words = iter(" ".join(sentences).split() * 20)
    return [text_of(predictor.encoder.tokenizer, words, predictor.mask_token, length) for _ in range(TOKENS // length)]


def batch_rate(predictor: Predictor, rows: int, rounds: int, length: int = 32) -> float:
    """Tokens a second of the graph alone, which takes so many rows at once."""
    ids = np.random.default_rng(0).integers(1000, predictor.bundle.manifest.vocab_size, (rows, length))
    inputs = graph_inputs(ids, np.full((rows, 1), length // 2), np.zeros((rows, 1, 1)), 5)
    runs = max(1, max(BATCHES) // rows)

    def run() -> None:
        for _ in range(runs):
            predictor.graph.run(["top_ids", "top_logprobs"], inputs)

    return runs * rows * length / median_seconds(run, rounds)


def megabytes(length: int, sentences: Sequence[str]) -> float:
    """The most memory of a process of its own that fills texts of so many tokens, on all cores."""
    texts = json.dumps(texts_of(Predictor.load(), length, sentences))
    told = subprocess.run([sys.executable, "-c", FILL], input=texts, capture_output=True, text=True, check=True)
    return float(told.stdout) * 1024 / 1e6


def draw(figures: dict[str, Any], path: Path) -> None:
    """The four curves."""
    picture, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    panels = {"rows": ("sentences of a call", "sentences a second"), "lengths": ("tokens of a text", "tokens a second")}
    for place, (name, (across, up)) in zip(axes[0], panels.items(), strict=True):
        for (threads, curves), colour in zip(figures["threads"].items(), COLOURS, strict=False):
            place.plot(
                *zip(*curves[name], strict=True), "o-", color=colour, label=f"{threads} thread{'s' * (threads != '1')}"
            )
        label(place, across, up)
        place.legend(frameon=False)
    axes[1, 0].plot(*zip(*figures["threads"]["1"]["batches"], strict=True), "o-", color=COLOURS[0])
    label(axes[1, 0], "rows of 32 tokens that the graph takes at once", "tokens a second, 1 thread")
    axes[1, 1].plot(*zip(*figures["memory"]["lengths"], strict=True), "o-", color=COLOURS[1])
    label(axes[1, 1], "tokens of a text", "most memory of a process, MB")
    picture.savefig(path, dpi=150)


def label(axes: Any, across: str, up: str) -> None:
    """The axes' names; work doubles from tick to tick."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(0, 1.05 * axes.dataLim.ymax)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    typer.run(main)
