"""`mlm-batch pairs`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maskedge.inference.scoring import Method
from maskedge_batch.cli.command import ExitCode, Json, command, log, print_json
from maskedge_batch.cli.progress import ProgressDisplay
from maskedge_batch.cli.summary import print_summary
from maskedge_batch.evaluation.pairs import Normalization, PairScoring
from maskedge_batch.reports.pairs import PairsReport
from maskedge_batch.reports.pairs_rendering import interval_text, pairs_json
from maskedge_batch.runs.pairs import PairsJob, score_pairs_file
from maskedge_batch.runs.stopping import StopRequest

__all__ = ["pairs"]

SHOWN_GROUPS = 20
"""Groups of a column that are printed; the report has all."""


@command
def pairs(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="The pairs: Parquet or .jsonl; directories, quoted globs, s3://...; - is JSONL.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="The scored file.", show_default="INPUT.pairs.parquet beside the input"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The model bundle, a directory.", show_default="maskedge's own")
    ] = None,
    good: Annotated[str, typer.Option(help="The column with the sentences to prefer.")] = "sentence_good",
    bad: Annotated[str, typer.Option(help="The column with the others.")] = "sentence_bad",
    by: Annotated[
        list[str] | None, typer.Option(help="A column to group by; may be given again.", show_default=False)
    ] = None,
    method: Annotated[Method, typer.Option(help="What is masked while a token is predicted.")] = "within_word_l2r",
    normalize: Annotated[
        Normalization, typer.Option(help="Compare the sums, or divide them by tokens or characters.")
    ] = "sum",
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 3 where pairs were set aside.")] = False,
    json: Json = False,
) -> None:
    """Score minimal pairs: how often does the model prefer the good sentence?

    Sentences are compared by their pseudo-log-likelihood; a tie counts as wrong. A pair that cannot be scored keeps its
    place, with the reason in mlm_status. The report is HTML, Markdown and JSON.

    Example: mlm-batch pairs blimp.parquet --by UID
    """
    job = PairsJob(source, output, model, PairScoring(good, bad, method, normalize), tuple(dict.fromkeys(by or ())))
    with ProgressDisplay() as display:
        outcome = score_pairs_file(job, display.update, StopRequest.on_signals(), sys.stdin.buffer)
    for note in outcome.notes:
        log.warning(note)
    if json:
        print_json(pairs_json(outcome.report))
    else:
        files = {"scores": outcome.output, "report": outcome.html}
        print_summary(_summary(outcome.report), files, Console())
    if strict and outcome.report.set_aside:
        raise typer.Exit(ExitCode.SET_ASIDE)


def _summary(report: PairsReport) -> Iterator[tuple[str, str]]:
    yield "pairs scored", f"{report.overall.pairs if report.overall else 0:,} of {report.pairs:,}"
    for reason, pairs in report.set_aside.items():
        yield f"  set aside, {reason}", f"{pairs:,}"
    for grouping in report.grouped:
        for name, group in list(grouping.groups.items())[:SHOWN_GROUPS]:
            yield f"  {name}", f"{group.value:.1%} of {group.pairs:,}"
        if len(grouping.groups) > SHOWN_GROUPS:
            yield f"  and {len(grouping.groups) - SHOWN_GROUPS:,} more", ""
        yield f"mean of {grouping.column}", f"{grouping.mean.value:.1%} ({interval_text(grouping.mean)})"
    if report.overall:
        yield "accuracy", f"{report.overall.value:.1%} ({interval_text(report.overall)})"
        yield "ties, counted as wrong", f"{report.overall.ties:,}"
