"""`mlm-batch score`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maskedge.inference.scoring import Method
from maskedge_batch.cli.command import ExitCode, Json, command, log, print_json
from maskedge_batch.cli.profile_table import print_profile
from maskedge_batch.cli.progress import ProgressDisplay
from maskedge_batch.cli.summary import print_summary
from maskedge_batch.reports.rendering import as_json
from maskedge_batch.reports.report import Report
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.batches import MEMORY_BUDGET
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile

__all__ = ["score"]


@command
def score(
    source: Annotated[Path, typer.Argument(metavar="INPUT.parquet", help="The file to score.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The scored file.", show_default="INPUT.scored.parquet beside the input"),
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
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 3 where rows were set aside.")] = False,
    json: Json = False,
) -> None:
    """Score every row of a Parquet file, and report on it in HTML, Markdown and JSON.

    Masks, written [MASK] or <mask>, are filled; with a target column the known words are rated. Texts without a mask
    are given their pseudo-log-likelihood. A row that cannot be scored keeps its place, with the reason in mlm_status.

    Example: mlm-batch score sentences.parquet -o scored.parquet --predictions 3
    """
    if no_targets and target_column is not None:
        raise typer.BadParameter("--target-column names a column and --no-targets says there is none: give one of them")
    scoring = ScoringOptions(_top_k(predictions), method, single_piece_targets, tokens)
    job = Job(
        source,
        output,
        model,
        text_column,
        target_column,
        targets=not no_targets,
        scoring=scoring,
        revision=revision,
        precision=precision,
        memory_budget=memory_budget << 20,
    )
    times = Profile()
    with ProgressDisplay() as display:
        outcome = score_file(job, display.update, StopRequest.on_signals(), times)
    for note in outcome.notes:
        log.warning(note)
    if profile:
        print_profile(times, Console(stderr=True))
    if json:
        print_json(as_json(outcome.report))
    else:
        files = {"scores": outcome.output, "report": outcome.html}
        print_summary(_summary(outcome.report), files, Console())
    if strict and outcome.report.set_aside:
        raise typer.Exit(ExitCode.SET_ASIDE)


def _top_k(predictions: str) -> int | None:
    if predictions == "none":
        return None
    if not predictions.isdecimal():
        raise typer.BadParameter(f"{predictions!r} is neither a number nor none", param_hint="--predictions")
    return int(predictions)


def _summary(report: Report) -> Iterator[tuple[str, str]]:
    yield "rows scored", f"{report.rows_ok:,} of {report.rows:,}"
    for reason, rows in report.set_aside.items():
        yield f"  set aside, {reason}", f"{rows:,}"
    masked, unmasked = report.masked, report.unmasked
    if masked and masked.overall:
        overall = masked.overall
        yield "masked perplexity", f"{overall.perplexity.value:,.2f} over {overall.targets:,} targets"
        shares = {f"top-{each.k}": f"{each.share.value:.1%}" for each in overall.accuracies}
        if shares:
            yield ", ".join(shares), ", ".join(shares.values())
    elif masked:
        yield "mean entropy", f"{masked.mean_entropy.value:.2f} nats over {masked.masks:,} masks"
    if unmasked:
        figures = unmasked.overall
        yield "pseudo-perplexity", f"{figures.pseudo_perplexity.value:,.2f} over {figures.tokens:,} tokens"
    if report.rows_per_second is not None:
        yield "rows/s", f"{report.rows_per_second:,.0f}"
