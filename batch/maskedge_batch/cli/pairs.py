"""`mlm-batch pairs`."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from maskedge_batch.cli import options
from maskedge_batch.cli.command import ExitCode, command, log, print_json
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
    source: Annotated[list[str], options.inputs("The pairs: Parquet or .jsonl")],
    output: Annotated[
        str | None, options.output_option("The scored file.", "INPUT.pairs.parquet beside the input")
    ] = None,
    model: options.Model = None,
    revision: options.Revision = None,
    precision: options.Precision = None,
    runtime: options.Runtime = "auto",
    good: Annotated[str, typer.Option(help="The column with the sentences to prefer.")] = "sentence_good",
    bad: Annotated[str, typer.Option(help="The column with the others.")] = "sentence_bad",
    by: options.By = None,
    method: options.ScoringMethod = "within_word_l2r",
    normalize: Annotated[
        Normalization, typer.Option(help="Compare the sums, or divide them by tokens or characters.")
    ] = "sum",
    overwrite: options.Overwrite = False,
    strict: options.Strict = False,
    json: options.Json = False,
) -> None:
    """Score minimal pairs: how often does the model prefer the good sentence?

    Sentences are compared by their pseudo-log-likelihood; a tie counts as wrong. A pair that cannot be scored keeps its
    place, with the reason in mlm_status. The report is HTML, Markdown and JSON.

    Example: mlm-batch pairs blimp.parquet --by UID
    """
    scoring = PairScoring(good, bad, method, normalize)
    job = PairsJob(
        source,
        output,
        model,
        scoring,
        options.distinct(by),
        revision=revision,
        precision=precision,
        runtime=runtime,
        overwrite=overwrite,
    )
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
