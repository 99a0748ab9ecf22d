"""`mlm-batch mask`."""

import json as json_format
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maskedge_batch.cli import options
from maskedge_batch.cli.command import command, log, print_json
from maskedge_batch.cli.progress import ProgressDisplay
from maskedge_batch.cli.summary import print_summary
from maskedge_batch.evaluation.candidates import Choice
from maskedge_batch.evaluation.masking import Masking, Strategy
from maskedge_batch.inputs.texts import read_words
from maskedge_batch.runs.masking import MaskJob, MaskOutcome, mask_file
from maskedge_batch.runs.stopping import StopRequest

__all__ = ["mask"]


@command
def mask(
    source: Annotated[list[str], options.inputs("Plain texts: Parquet, .jsonl or .txt")],
    output: Annotated[str, options.output_option("The masked file, Parquet.")],
    text_column: options.TextColumn = "text",
    rate: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Mask this share of a text's words, at least one.", show_default="one word"),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Mask every word in turn, in a row of its own.")] = False,
    words: Annotated[
        Path | None, typer.Option(help="Mask only the words of this file, one a line.", show_default=False)
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="Numbers may be masked too.")] = False,
    names: Annotated[bool, typer.Option("--names", help="Capitalised words within a sentence too.")] = False,
    min_words: Annotated[int, typer.Option(min=1, help="Leave out texts of fewer words.")] = 4,
    seed: Annotated[int, typer.Option(help="Another seed masks other words.")] = 0,
    keep_unmasked: Annotated[
        bool, typer.Option("--keep-unmasked", help="Keep texts that no word is masked in, without a target.")
    ] = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Make a masked evaluation set of plain texts: words become [MASK] and stand in the column target.

    Whole words are masked, whatever the model. Numbers, names, URLs, hashtags and code are left alone. Which words are
    drawn depends on the seed and the text alone. The result is what mlm-batch score reads.

    Example: mlm-batch mask corpus.parquet -o masked.parquet
    """
    if each and rate is not None:
        raise typer.BadParameter("--each masks every word in turn and --rate a share of them: give one of them")
    if rate == 0:
        raise typer.BadParameter("--rate 0 masks nothing: give a share above 0")
    choice = Choice(None if words is None else read_words(words), numbers, names)
    strategy: Strategy = "each" if each else "one" if rate is None else "rate"
    masking = Masking(text_column, strategy, rate or 1.0, seed, choice, min_words, keep_unmasked)
    job = MaskJob(source, output, masking, overwrite)
    with ProgressDisplay("masking") as display:
        outcome = mask_file(job, display.update, StopRequest.on_signals(), sys.stdin.buffer)
    for note in outcome.notes:
        log.warning(note)
    if json:
        print_json(json_format.dumps({**asdict(outcome), "output": str(outcome.output)}))
    else:
        print_summary(_summary(outcome), {"masked": outcome.output}, Console())


def _summary(outcome: MaskOutcome) -> Iterator[tuple[str, str]]:
    yield "texts masked", f"{outcome.masked:,} of {outcome.texts:,}"
    for reason, texts in outcome.set_aside.items():
        yield f"  not masked, {reason}", f"{texts:,}"
    yield "rows", f"{outcome.rows:,}"
