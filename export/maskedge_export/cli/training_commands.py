"""Commands that train: train, adapt, average."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maskedge_export.cli.progress import Steps, TrainingMeter
from maskedge_export.cli.tables import before_after_table, training_table
from maskedge_export.recipe import Recipe
from maskedge_export.recipe_file import load_recipe

__all__ = ["adapt", "average", "train"]


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, TOML.")],
    out: Annotated[Path, typer.Option(help="The run's directory: model, log, loss curve, checkpoints.")],
    text: Annotated[
        list[str] | None,
        typer.Option(help="Text, JSONL or Parquet to train on instead of the recipe's; globs; may be repeated."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Encoder to train on, whatever the recipe's [model] says: a directory or a Hub id."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --out.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where tokenizer and packed text are kept for other runs; in --out by default.")
    ] = None,
) -> None:
    """Train a masked language model; what it writes is a Hugging Face checkpoint."""
    options = _with_text(load_recipe(recipe), text)
    if start:
        options = replace(options, model=replace(options.model, start=start))
    from maskedge_export.training.trainer import TrainingOptions  # takes seconds to import
    from maskedge_export.training.trainer import train as train_model

    with Steps() as steps:
        meter = TrainingMeter(steps)
        result = train_model(options, TrainingOptions(out, resume, cache, None, steps.begin, meter.show))
    if result:
        console = Console()
        console.print(training_table(result))
        console.print(f"[bold]{result.model}[/]", highlight=False, soft_wrap=True)


def adapt(
    checkpoint: Annotated[str, typer.Argument(help="A Hugging Face checkpoint: a directory or a Hub id.")],
    out: Annotated[Path, typer.Option(help="The run's directory: model, report, log, loss curve, checkpoints.")],
    text: Annotated[
        list[str] | None, typer.Option(help="Text, JSONL or Parquet to adapt to; globs; may be repeated.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="A recipe, TOML; what it leaves out is as without one, and tokenizer and model are the checkpoint's."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of training; three passes over the text by default, at most the recipe's, or 1,000.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --out.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Where packed text is kept; in --out by default.")] = None,
) -> None:
    """Train a checkpoint on with your own text, and report what that gained on text kept out of it."""
    from maskedge_export.training.adaptation import adapt as adapt_model
    from maskedge_export.training.adaptation import adaptation_recipe, load_adaptation_recipe
    from maskedge_export.training.trainer import TrainingOptions

    options = _with_text(load_adaptation_recipe(recipe) if recipe else adaptation_recipe(), text)
    with Steps() as shown:
        meter = TrainingMeter(shown)
        result = adapt_model(
            checkpoint, options, TrainingOptions(out, resume, cache, None, shown.begin, meter.show), steps=steps
        )
    if result:
        console = Console()
        console.print(before_after_table(result.before_after))
        console.print(f"[bold]{result.model}[/]\n{out / 'adaptation.md'}", highlight=False, soft_wrap=True)


def average(
    checkpoints: Annotated[list[str], typer.Argument(help="Two or more of one kind: directories or Hub ids.")],
    out: Annotated[Path, typer.Option(help="The new checkpoint's directory.")],
    share: Annotated[
        list[float] | None,
        typer.Option(help="Each one's share of the mean, in their order; repeated. Equal ones by default."),
    ] = None,
) -> None:
    """Make the mean of checkpoints that were trained from one another, often better than each of them."""
    from maskedge_export.training.averaging import average as average_checkpoints  # takes seconds to import

    with Steps() as steps:
        steps.begin("Adding up the weights")
        result = average_checkpoints(checkpoints, out, share)
    Console().print(f"[bold]{result}[/]", highlight=False, soft_wrap=True)


def _with_text(recipe: Recipe, text: list[str] | None) -> Recipe:
    return replace(recipe, corpus=replace(recipe.corpus, files=tuple(text), dataset="")) if text else recipe
