"""`mlm-export`: the only part of this package that prints and exits."""

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from maskedge.bundle import Bundle
from maskedge.errors import MaskedgeError
from maskedge_export.bundling import PRECISIONS, ExportOptions, export_bundle
from maskedge_export.comparing import compare_bundles
from maskedge_export.recipe import Recipe, load_recipe
from maskedge_export.verification import Limits

if TYPE_CHECKING:
    from maskedge_export.gains import Gains
    from maskedge_export.training import LogEntry, TrainingResult

__all__ = ["app", "main"]

FAILURE = 1
DEFAULTS = Limits()

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def main() -> None:
    """Runs the command line. Errors that a person can act on are one line; Ctrl-C leaves nothing half written."""
    console = Console(stderr=True)
    try:
        app(standalone_mode=True)
    except MaskedgeError as error:
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(FAILURE) from None


@app.callback()
def _describe() -> None:
    """Turn masked language models into verified ONNX bundles for plain CPUs."""


@app.command()
def bundle(
    checkpoint: Annotated[str, typer.Argument(help="A Hugging Face checkpoint: a directory or a Hub id.")],
    out: Annotated[Path, typer.Option(help="The bundle's directory, which must not exist yet.")],
    precision: Annotated[str, typer.Option(help=f"One of {', '.join(PRECISIONS)}.")] = "int8",
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Text (one a line) or Parquet (column text) to calibrate int8 on; may be repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the checkpoint's by default.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub checkpoint.")] = None,
    gate: Annotated[bool, typer.Option(help="--no-gate writes a bundle outside its limits, and says so in it.")] = True,
    max_kl: Annotated[float, typer.Option(help="Gate: mean KL of int8 from fp32, nats.")] = DEFAULTS.int8_mean_kl,
    min_top1: Annotated[
        float, typer.Option(help="Gate: share of cells where int8 predicts what fp32 does.")
    ] = DEFAULTS.int8_top1_agreement,
    max_perplexity_change: Annotated[
        float, typer.Option(help="Gate: relative rise of the masked perplexity by int8, upper end of its interval.")
    ] = DEFAULTS.int8_perplexity_change,
    min_pairs: Annotated[
        float, typer.Option(help="Gate: share of minimal pairs that int8 ranks as fp32 does.")
    ] = DEFAULTS.int8_pair_agreement,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")] = False,
    few_texts: Annotated[
        bool, typer.Option("--few-texts", help="Accept fewer than 64 texts; int8 is then verified on those same texts.")
    ] = False,
) -> None:
    """Export a checkpoint to ONNX, quantize it, prove that it still says the same, and write the bundle."""
    limits = replace(
        DEFAULTS,
        int8_mean_kl=max_kl,
        int8_top1_agreement=min_top1,
        int8_perplexity_change=max_perplexity_change,
        int8_pair_agreement=min_pairs,
    )
    options = ExportOptions(precision, tuple(calibration or ()), limits, gate, name, revision, overwrite, few_texts)
    with _Steps() as steps:
        manifest = export_bundle(checkpoint, out, options, steps.begin)
    console = Console()
    console.print(
        _proof_table(
            {
                f"{name} / {entry.verification['reference']}": entry.verification
                for name, entry in manifest.graphs.items()
            }
        )
    )
    size = sum(entry.size for entry in manifest.files.values())
    console.print(f"[bold]{out}[/]: {manifest.name}, {size / 1e6:.1f} MB", highlight=False, soft_wrap=True)


@app.command()
def compare(
    candidate: Annotated[Path, typer.Argument(help="A bundle.")],
    reference: Annotated[Path, typer.Argument(help="The bundle it is compared with.")],
    text: Annotated[list[Path], typer.Option(help="Text or Parquet to compare on; may be repeated.")],
) -> None:
    """Compare two bundles of one vocabulary on the same masked text. Exit code 1 where their sources differ."""
    first, second = Bundle.open(candidate), Bundle.open(reference)
    with _Steps() as steps:
        steps.begin("Comparing the bundles")
        comparisons = compare_bundles(first, second, text)
    console = Console()
    console.print(_proof_table({name: comparison.as_figures() for name, comparison in comparisons.items()}))
    if first.manifest.source["fingerprint"] != second.manifest.source["fingerprint"]:
        Console(stderr=True).print("The bundles come from different checkpoints.", style="red")
        raise typer.Exit(FAILURE)
    console.print("Both come from the same checkpoint.")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, TOML.")],
    out: Annotated[Path, typer.Option(help="The run's directory: model, log, loss curve, checkpoints.")],
    text: Annotated[
        list[str] | None,
        typer.Option(help="Text, JSONL or Parquet to train on instead of the recipe's; globs; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --out.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where tokenizer and packed text are kept for other runs; in --out by default.")
    ] = None,
) -> None:
    """Train a masked language model; what it writes is a Hugging Face checkpoint."""
    options = _with_text(load_recipe(recipe), text)
    from maskedge_export.training import TrainingOptions  # takes seconds to import
    from maskedge_export.training import train as train_model

    with _Steps() as steps:
        meter = _TrainingMeter(steps)
        result = train_model(options, TrainingOptions(out, resume, cache, None, steps.begin, meter.show))
    if result:
        Console().print(_training_summary(result), highlight=False, soft_wrap=True)


@app.command()
def adapt(
    checkpoint: Annotated[str, typer.Argument(help="A Hugging Face checkpoint: a directory or a Hub id.")],
    out: Annotated[Path, typer.Option(help="The run's directory: model, report, log, loss curve, checkpoints.")],
    text: Annotated[
        list[str] | None, typer.Option(help="Text, JSONL or Parquet to adapt to; globs; may be repeated.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe, TOML; its tokenizer and model are the checkpoint's instead.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of training; three passes over the text by default, 1,000 at most.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --out.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Where packed text is kept; in --out by default.")] = None,
) -> None:
    """Train a checkpoint on with your own text, and report what that gained on text kept out of it."""
    from maskedge_export.adaptation import adapt as adapt_model
    from maskedge_export.adaptation import adaptation_recipe
    from maskedge_export.training import TrainingOptions

    options = _with_text(load_recipe(recipe) if recipe else adaptation_recipe(), text)
    with _Steps() as shown:
        meter = _TrainingMeter(shown)
        result = adapt_model(
            checkpoint, options, TrainingOptions(out, resume, cache, None, shown.begin, meter.show), steps=steps
        )
    if result:
        console = Console()
        console.print(_gains_table(result.gains))
        console.print(f"[bold]{result.model}[/]\n{out / 'adaptation.md'}", highlight=False, soft_wrap=True)


def _with_text(recipe: Recipe, text: list[str] | None) -> Recipe:
    return replace(recipe, corpus=replace(recipe.corpus, files=tuple(text), dataset="")) if text else recipe


class _TrainingMeter:
    """Shows the last line of a training log: in place on a terminal, as a line elsewhere."""

    def __init__(self, steps: "_Steps") -> None:
        self.steps = steps
        self.bar = Progress(BarColumn(), TextColumn("{task.description}"))
        self.task = self.bar.add_task("")

    def show(self, entry: "LogEntry") -> None:
        left = str(timedelta(seconds=round(entry.seconds_left)))
        line = (
            f"step {entry.step:,} of {entry.steps:,}   loss {entry.loss:.3f}   accuracy {entry.accuracy:.1%}   "
            f"learning rate {entry.learning_rate:.1e}   {entry.tokens_per_second:,.0f} tokens/s   {left} left"
        )
        if entry.held_out_perplexity is not None:
            line += f"   held-out perplexity {entry.held_out_perplexity:.2f}"
        self.bar.update(self.task, completed=entry.step, total=entry.steps, description=line)
        if self.steps.console.is_terminal:
            self.steps.status.update(self.bar.get_renderable())
        if not self.steps.console.is_terminal or entry.held_out_perplexity is not None:
            self.steps.console.print(line, highlight=False, soft_wrap=True)


def _training_summary(result: "TrainingResult") -> str:
    lines = [f"[bold]{result.model}[/]"]
    if result.last:
        lines.append(f"training loss {result.last.loss:.4f}, accuracy {result.last.accuracy:.1%}")
    if result.held_out:
        lines.append(
            f"held out: perplexity {result.held_out.perplexity:.2f}, accuracy {result.held_out.accuracy:.1%}, "
            f"{result.held_out.cells:,} cells"
        )
    return "\n".join(lines)


class _Steps:
    """Shows the step under way with a spinner, and each finished one with its time; plain lines off a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.status = self.console.status("")
        self.step = ""
        self.started = 0.0

    def __enter__(self) -> "_Steps":
        self.status.start()
        return self

    def begin(self, step: str) -> None:
        self._finish()
        self.step, self.started = step, time.monotonic()
        self.status.update(step)

    def _finish(self) -> None:
        if self.step:
            seconds = time.monotonic() - self.started
            self.console.print(f"[green]✓[/] {self.step} [dim]{seconds:.1f} s[/]", highlight=False)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._finish()
        self.status.stop()


def _proof_table(figures: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for heading in ("mean KL", "99 % KL", "same top-1", "perplexity", "change", "cells"):
        table.add_column(heading, justify="right")
    for name, row in figures.items():
        table.add_row(
            name,
            f"{row['mean_kl']:.4f}",
            f"{row['p99_kl']:.4f}",
            f"{row['top1_agreement']:.1%}",
            f"{row['candidate_perplexity']:.2f}",
            f"{row['perplexity_change']:+.2%}",
            f"{row['cells']:,}",
        )
    return table


def _gains_table(gains: "Gains") -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("perplexity of a word, held out")
    for heading in ("words", "before", "after", "after / before (95 %)"):
        table.add_column(heading, justify="right")
    for gain in (gains.overall, *gains.by_frequency, *gains.by_pieces):
        ratio = f"{gain.ratio.value:.3f} ({gain.ratio.low:.3f} to {gain.ratio.high:.3f})"
        table.add_row(gain.group, f"{gain.words:,}", f"{gain.before:,.1f}", f"{gain.after:,.1f}", ratio)
    return table
