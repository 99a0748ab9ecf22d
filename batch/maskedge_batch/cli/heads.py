"""`mlm-batch heads`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maskedge_batch.cli.command import Json, command, print_json
from maskedge_batch.cli.progress import ProgressDisplay
from maskedge_batch.cli.summary import print_summary
from maskedge_batch.heads.analysis import HeadsAnalysis
from maskedge_batch.heads.rendering import sentence_about
from maskedge_batch.heads.report import best_heads, heads_json
from maskedge_batch.runs.heads import HeadsJob, report_on_heads
from maskedge_batch.runs.stopping import StopRequest

__all__ = ["heads"]

SHOWN = 10
"""Relations that are printed; the report has all."""


@command
def heads(
    corpora: Annotated[
        list[Path],
        typer.Argument(metavar="CORPUS", help=".conllu, .txt, .jsonl or Parquet files.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The directory of the results.", show_default=False)],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The model bundle, a directory.", show_default="maskedge's own")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Which of the bundle's graphs to run.", show_default="the bundle's first")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The column with the texts.")] = "text",
    limit: Annotated[int | None, typer.Option(min=1, help="Most sentences to read.", show_default="all")] = None,
    json: Json = False,
) -> None:
    """Report what each attention head does over a corpus.

    Of plain text: whether it looks at the previous or the next token, at separators, at punctuation, how far and how
    surely. Of text with dependency annotation (CoNLL-U) also which relations it finds, beside the best fixed distance.

    Example: mlm-batch heads en_ewt-ud-dev.conllu -o heads
    """
    job = HeadsJob(tuple(corpora), output, model, precision, text_column, limit)
    with ProgressDisplay() as display:
        outcome = report_on_heads(job, display.update, StopRequest.on_signals())
    if json:
        print_json(heads_json(outcome.report))
    else:
        files = {"report": outcome.html, "figures": outcome.roles}
        print_summary(_summary(outcome.report.analysis), files, Console())


def _summary(analysis: HeadsAnalysis) -> Iterator[tuple[str, str]]:
    yield "sentences", f"{analysis.sentences:,}, {analysis.tokens:,} tokens"
    for reason, sentences in analysis.set_aside.items():
        yield f"  set aside, {reason}", f"{sentences:,}"
    for role, (layer, head, value) in (best_heads(analysis) if analysis.sentences else {}).items():
        yield f"most {role}", f"{layer}-{head}: {value:.2f}"
    for result in sorted(analysis.relations, key=lambda one: -one.gain)[:SHOWN]:
        yield f"{result.relation}, {result.direction}", sentence_about(result)
