"""`mlm-batch report`."""

import json as json_format
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from maskedge.plain_json import plain_json
from maskedge_batch.cli import options
from maskedge_batch.cli.command import command, print_json
from maskedge_batch.cli.summary import print_summary, report_figures
from maskedge_batch.inputs.arguments import first_of
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.publishing import publish_pages, stem_of
from maskedge_batch.reports.rendering import as_html, as_json, as_markdown
from maskedge_batch.reports.report import RunFacts
from maskedge_batch.reports.scored import ScoredFiles, open_scored
from maskedge_batch.storage.locations import Location

__all__ = ["report"]


@command
def report(
    scored: Annotated[
        list[str],
        typer.Argument(
            metavar="SCORED", help="Scored files, directories of them, quoted globs; s3://... too.", show_default=False
        ),
    ],
    output: Annotated[
        str | None,
        options.output_option("DIR/NAME of the report, without .html.", "NAME.report beside the first file"),
    ] = None,
    by: options.By = None,
    json: options.Json = False,
) -> None:
    """Report on files that were scored, without the model: HTML, Markdown and JSON.

    The report that a job leaves is made anew, with groups by any column where --by names some. Where it replaces that
    report, it keeps what that one says of the run: its time, its machine, its speed.

    Example: mlm-batch report sentences.scored.parquet --by genre
    """
    stem = stem_of(output, _beside(first_of(scored[0])))
    found = make_report(scored, by=options.distinct(by), run=_run_of(stem, open_scored(scored)))
    files = publish_pages(stem, {"html": as_html(found), "md": as_markdown(found), "json": as_json(found)})
    if json:
        print_json(as_json(found))
    else:
        print_summary(report_figures(found), {"report": files["html"]}, Console())


def _beside(scored: Location) -> Location:
    """Where a job leaves its report."""
    if scored.is_directory():
        return scored / "_report"
    name = scored.name.removesuffix(".parquet").removesuffix(".scored")
    return scored.with_name(f"{name}.report")


def _run_of(stem: Location, scored: ScoredFiles) -> RunFacts | None:
    """What the report that will be replaced says of the run, if there is one, of the same rows and scores."""
    try:
        said = json_format.loads(stem.with_name(f"{stem.name}.json").read_text())
        same = (said["rows"], said["provenance"]) == (
            scored.rows,
            json_format.loads(plain_json(asdict(scored.provenance))),
        )
        return RunFacts(**said["run"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
