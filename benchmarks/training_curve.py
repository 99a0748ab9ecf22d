"""How the bundled model was trained: the logs of the runs that followed one another, as figures and one picture.

    .venv/bin/python benchmarks/training_curve.py RUN RUN ... --json docs/results/training.json

A run is the directory that `mlm-export train` wrote. Writes the loss over all tokens as JSON, and draws it beside that.
"""

import itertools
import json
import math
import statistics
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import typer

mpl.use("Agg")
from matplotlib import pyplot as plt

PAUSED = 10
"""Times the usual time, from which a step's tells of a process that was stopped meanwhile: it counts as a usual one."""
LOSS_COLOUR, HELD_OUT_COLOUR, RATE_COLOUR = "#30638e", "#d1495b", "#6b6b6b"

Figures = dict[str, Any]


def main(runs: list[Path], json_file: Annotated[Path, typer.Option("--json")]) -> None:
    """Read the logs, write the figures, draw."""
    figures = {"runs": [figures_of(run) for run in runs]}
    json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw(figures["runs"], json_file.with_suffix(".png"))


def figures_of(run: Path) -> Figures:
    """Steps, tokens, hours, and the log of a run; a step's time is that which its log entry tells."""
    batch_tokens = json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"]["run"]["batch_tokens"]
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [0, *(entry["step"] for entry in entries)]
    tokens = [batch_tokens * (after - before) for before, after in itertools.pairwise(steps)]
    seconds = [count / entry["tokens_per_second"] for count, entry in zip(tokens, entries, strict=True)]
    usual = statistics.median(seconds)
    return {
        "name": run.name,
        "steps": steps[-1],
        "million_tokens": sum(tokens) / 1e6,
        "hours": sum(usual if each > PAUSED * usual else each for each in seconds) / 3600,
        "held_out_perplexity": next(
            (entry["held_out_perplexity"] for entry in reversed(entries) if entry["held_out_perplexity"]), None
        ),
        "log": [
            [
                round(total / 1e6, 3),
                round(entry["loss"], 4),
                entry["held_out_perplexity"] and round(entry["held_out_perplexity"], 2),
                entry["learning_rate"],
            ]
            for total, entry in zip(itertools.accumulate(tokens), entries, strict=True)
        ],
    }


def draw(runs: list[Figures], path: Path) -> None:
    """Loss over the tokens of all runs, with a dashed line between them; below, the learning rate."""
    figure, (losses, rates) = plt.subplots(
        2, 1, figsize=(8, 4.5), sharex=True, height_ratios=(4, 1), layout="constrained"
    )
    begins = [0.0, *itertools.accumulate(run["million_tokens"] for run in runs)]
    for begin, run in zip(begins, runs, strict=False):
        tokens, loss, held_out, rate = zip(*run["log"], strict=True)
        at = [begin + count for count in tokens]
        measured = [(place, math.log(each)) for place, each in zip(at, held_out, strict=True) if each]
        first = begin == 0
        losses.plot(at, loss, color=LOSS_COLOUR, linewidth=1, label="training" if first else None)
        losses.plot(
            *zip(*measured, strict=True),
            color=HELD_OUT_COLOUR,
            marker="o",
            markersize=3,
            label="held out, one mask a sentence" if first else None,
        )
        rates.plot(at, rate, color=RATE_COLOUR, linewidth=1)
        if not first:
            losses.axvline(begin, color="#94a3b8", linestyle="--", linewidth=1)
    losses.set(ylabel="masked cross-entropy, nats")
    losses.legend(frameon=False)
    rates.set(xlabel="million tokens", ylabel="learning rate", ylim=(0, None))
    for axes in (losses, rates):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
