"""`mlm-batch score`."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from maskedge.inference.scoring import Method
from maskedge.plain_json import plain_json
from maskedge_batch.cli.command import ExitCode, Json, command, log, print_json
from maskedge_batch.cli.profile_table import show_profile
from maskedge_batch.cli.progress import ProgressDisplay, clock, speed
from maskedge_batch.cli.summary import print_summary, report_figures
from maskedge_batch.inputs.selection import Selection
from maskedge_batch.reports.rendering import as_json
from maskedge_batch.runs.estimating import Estimate, estimate
from maskedge_batch.runs.job import EngineName, Job, OnError, score_file
from maskedge_batch.runs.plan import SHARD_ROWS
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.batches import MEMORY_BUDGET
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile

__all__ = ["score"]


@command
def score(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Parquet, .jsonl or .txt; directories, quoted globs, s3://...; - is standard input, as JSON lines.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="The scored file; with / at its end, or where it is a directory, a directory of parts.",
            show_default="INPUT.scored.parquet, or INPUT.scored/ for a directory",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A bundle's directory, or its id on the Hugging Face Hub.",
            show_default="maskedge's own",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model on the Hub.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Which of the bundle's graphs.", show_default="the first that this CPU computes")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The column with the texts.")] = "text",
    target_column: Annotated[
        str | None,
        typer.Option(help="The column with the masked words.", show_default="target, where there is such a column"),
    ] = None,
    no_targets: Annotated[bool, typer.Option("--no-targets", help="No column holds masked words.")] = False,
    predictions: Annotated[
        str,
        typer.Option("--predictions", "--top-k", metavar="N|none", help="Predictions to keep for each mask."),
    ] = "5",
    method: Annotated[
        Method, typer.Option(help="What is masked while a token of a text without masks is predicted.")
    ] = "original",
    single_piece_targets: Annotated[
        bool, typer.Option("--single-piece-targets", help="Set aside the rows whose masked words are not one token.")
    ] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Keep the log-probability of each token of texts without masks.")
    ] = False,
    memory_budget: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Memory for rows read ahead and scores not yet written.")
    ] = MEMORY_BUDGET >> 20,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went.")] = False,
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B...", help="Columns to pass on, beside those that are read.", show_default="all"),
    ] = None,
    row_filter: Annotated[
        str | None,
        typer.Option("--filter", help="Take only rows for which this is true, as in SQL: \"lang = 'en'\"."),
    ] = None,
    sample: Annotated[int | None, typer.Option(min=0, help="Take so many rows, chosen at random.")] = None,
    seed: Annotated[int, typer.Option(help="Of --sample: the same rows each time.")] = 0,
    limit: Annotated[int | None, typer.Option(min=0, help="Take the first so many rows.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and how long it would take.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there already.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run; one that is complete is left as it is.")
    ] = False,
    on_error: Annotated[
        OnError, typer.Option(help="Whether damaged files and row groups end the job, or are left out and told.")
    ] = "stop",
    engine: Annotated[
        EngineName, typer.Option(help="Score in this process, or with the workers of a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="A running cluster.", show_default="one on this machine, for this job"),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Workers of a cluster.", show_default="what its CPUs suffice for")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Batches the model reads at once, in each worker.", show_default="one a CPU; in workers, 4"
        ),
    ] = None,
    shard_rows: Annotated[
        int, typer.Option(min=1, help="Rows of a part at most: a stopped run loses less than one part.")
    ] = SHARD_ROWS,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 3 where rows were set aside.")] = False,
    json: Json = False,
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
    for note in found.notes:
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
