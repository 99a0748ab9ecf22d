"""`mlm-batch heads`."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from maskedge_batch.cli import options
from maskedge_batch.cli.command import command, print_json
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
    source: Annotated[list[str], options.inputs("Sentences: .conllu, Parquet, .jsonl or .txt")],
    output: Annotated[str, options.output_option("The directory of the results.")],
    model: options.Model = None,
    revision: options.Revision = None,
    precision: options.Precision = None,
    runtime: options.Runtime = "auto",
    text_column: options.TextColumn = "text",
    limit: Annotated[int | None, typer.Option(min=1, help="Most sentences to read.", show_default="all")] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Report what each attention head does over a corpus.

    Of plain text: whether it looks at the previous or the next token, at separators, at punctuation, how far and how
    surely. Of text with dependency annotation (CoNLL-U) also which relations it finds, beside the best fixed distance.

    Example: mlm-batch heads en_ewt-ud-dev.conllu -o heads
    """
    job = HeadsJob(
        source,
        output,
        model,
        revision=revision,
        precision=precision,
        runtime=runtime,
        text_column=text_column,
        limit=limit,
        overwrite=overwrite,
    )
    with ProgressDisplay("reading") as display:
        outcome = report_on_heads(job, display.update, StopRequest.on_signals(), sys.stdin.buffer)
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
