"""`mlm-batch score`."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from maskedge.plain_json import plain_json
from maskedge_batch.cli import options
from maskedge_batch.cli.command import ExitCode, command, log, print_json
from maskedge_batch.cli.profile_table import show_profile
from maskedge_batch.cli.progress import ProgressDisplay, clock, speed
from maskedge_batch.cli.summary import print_summary, report_figures
from maskedge_batch.inputs.selection import Selection
from maskedge_batch.reports.rendering import as_json
from maskedge_batch.runs.estimating import Estimate, estimate
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.plan import SHARD_ROWS
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.batches import MEMORY_BUDGET
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile

__all__ = ["score"]


@command
def score(
    source: Annotated[list[str], options.inputs("Parquet, .jsonl or .txt")],
    output: Annotated[
        str | None,
        options.output_option(
            "The scored file; with / at its end, or where it is a directory, a directory of parts.",
            "INPUT.scored.parquet, or INPUT.scored/ for a directory",
        ),
    ] = None,
    model: options.Model = None,
    revision: options.Revision = None,
    precision: options.Precision = None,
    runtime: options.Runtime = "auto",
    text_column: options.TextColumn = "text",
    target_column: options.TargetColumn = None,
    no_targets: options.NoTargets = False,
    predictions: options.Predictions = "5",
    method: options.ScoringMethod = "original",
    single_piece_targets: options.SinglePieces = False,
    tokens: options.KeptTokens = False,
    memory_budget: options.MemoryBudget = MEMORY_BUDGET >> 20,
    profile: options.ProfileOption = False,
    columns: options.ColumnNames = None,
    row_filter: options.Filter = None,
    sample: options.Sample = None,
    seed: options.Seed = 0,
    limit: options.First = None,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    on_error: options.OnErrorOption = "stop",
    engine: options.Engine = "local",
    ray_address: options.RayAddress = None,
    actors: options.Actors = None,
    threads: options.Threads = None,
    shard_rows: options.ShardRows = SHARD_ROWS,
    strict: options.Strict = False,
    json: options.Json = False,
) -> None:
    """Score every row of Parquet files, and report on it in HTML, Markdown and JSON.

    Masks, written [MASK] or <mask>, are filled; with a target column the known words are rated. Texts without a mask
    are given their pseudo-log-likelihood. A row that cannot be scored keeps its place, with the reason in mlm_status.

    Example: mlm-batch score sentences.parquet -o scored.parquet --predictions 3
    """
    if no_targets and target_column is not None:
        raise typer.BadParameter("--target-column names a column and --no-targets says there is none: give one of them")
    if overwrite and resume:
        raise typer.BadParameter("--overwrite replaces what --resume goes on with: give one of them")
    job = Job(
        source,
        output,
        model,
        text_column,
        target_column,
        targets=not no_targets,
        revision=revision,
        precision=precision,
        runtime=runtime,
        memory_budget=memory_budget << 20,
        scoring=ScoringOptions(_top_k(predictions), method, single_piece_targets, tokens),
        selection=Selection(_names(columns), row_filter, sample, seed, limit),
        overwrite=overwrite,
        resume=resume,
        on_error=on_error,
        engine=engine,
        ray_address=ray_address,
        actors=actors,
        threads=threads,
        shard_rows=shard_rows,
    )
    stop = StopRequest.on_signals()
    if dry_run:
        _print_estimate(estimate(job, stop.check, sys.stdin.buffer), json)
        return
    times = Profile()
    with ProgressDisplay() as display:
        outcome = score_file(job, display.update, stop, times, sys.stdin.buffer)
    for note in outcome.notes:
        log.warning(note)
    if profile:
        show_profile(times)
    if json:
        print_json(as_json(outcome.report))
    else:
        files = {"scores": outcome.places.output, "report": outcome.places.html}
        print_summary(report_figures(outcome.report), files, Console())
    if strict and (outcome.report.set_aside or outcome.left_out):
        raise typer.Exit(ExitCode.SET_ASIDE)


def _print_estimate(found: Estimate, json: bool) -> None:
    for note in (*found.notes, found.results):
        if note:
            log.warning(note)
    if json:
        print_json(plain_json(asdict(found), indent=2) + "\n")
    else:
        print_summary(_estimated(found), {}, Console())


def _estimated(found: Estimate) -> Iterator[tuple[str, str]]:
    yield "rows", f"{found.rows:,} in {found.files:,} file{'s' if found.files != 1 else ''}"
    yield "shards", f"{found.shards:,}"
    yield "model", f"{found.model}, {found.precision}"
    if found.seconds is not None:
        pace = f"{speed(found.rows / found.seconds)} rows/s"
        yield "time", f"about {_duration(found.seconds)} on this machine, {pace}"
        share = f"{found.longest_share:.0%} of it for the longest 1% of the texts"
        yield "", f"{share}, for which the model reads {found.longest_tokens:,} tokens or more"


def _names(columns: str | None) -> tuple[str, ...] | None:
    return None if columns is None else tuple(name.strip() for name in columns.split(","))


def _duration(seconds: float) -> str:
    return (
        f"{max(1, round(seconds))} s" if seconds < 60 else f"{clock(seconds)} ({'h:' if seconds >= 3600 else ''}mm:ss)"
    )


def _top_k(predictions: str) -> int | None:
    if predictions == "none":
        return None
    if not predictions.isdecimal():
        raise typer.BadParameter(f"{predictions!r} is neither a number nor none", param_hint="--predictions")
    return int(predictions)
