"""`mlm-batch compare`."""

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskedge_batch.cli import options
from maskedge_batch.cli.command import command, log, print_json
from maskedge_batch.inputs.arguments import first_of
from maskedge_batch.reports.comparing import make_comparison
from maskedge_batch.reports.comparison import ComparedKind, Comparison, Difference
from maskedge_batch.reports.comparison_rendering import as_html, as_json, as_markdown, kinds, verdict
from maskedge_batch.reports.publishing import publish_pages, stem_of
from maskedge_batch.reports.wording import number, percent, ratio_between, ratio_text, significant

__all__ = ["compare"]

SHOWN_GROUPS = 20
"""Groups of a column that are printed; the report has more."""


@command
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A scored file, a directory or a quoted glob.", show_default=False)
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same rows, scored by another.", show_default=False)],
    output: Annotated[
        str | None,
        options.output_option("DIR/NAME of the comparison, without .html.", "B.against.A beside B"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The column that tells rows apart.", show_default="rows are matched by their position"),
    ] = None,
    by: options.By = None,
    json: options.Json = False,
) -> None:
    """Compare two models on the same rows: which is better, by how much, and how sure is that?

    A and B are what mlm-batch score wrote, with two models, before and after an adaptation, or as fp32 and int8. Their
    perplexities are compared per word, row by row, so that vocabularies may differ. The comparison is HTML, Markdown
    and JSON.

    Example: mlm-batch compare before.scored.parquet after.scored.parquet --by genre
    """
    comparison = make_comparison([a], [b], by=options.distinct(by), key=key)
    pages = {"html": as_html(comparison), "md": as_markdown(comparison), "json": as_json(comparison)}
    places = first_of(b), first_of(a)
    names = [place.name.removesuffix(".parquet").removesuffix(".scored") for place in places]
    files = publish_pages(stem_of(output, places[0].with_name(".against.".join(names))), pages)
    for note in comparison.notes:
        log.warning(note)
    if json:
        print_json(as_json(comparison))
    else:
        _print(comparison, Console())
        Console().print("  [bold]comparison[/]  ", Text(str(files["html"])), sep="", soft_wrap=True, highlight=False)


def _print(comparison: Comparison, console: Console) -> None:
    console.print(Text(f" A  {comparison.a.name}\n B  {comparison.b.name}"), soft_wrap=True)
    for _, title, kind in kinds(comparison):
        console.print(_table(title, kind))
        console.print(Text(f" {title}: {verdict(kind.overall)}", "bold"), soft_wrap=True, highlight=False)
    console.print()


def _table(title: str, kind: ComparedKind) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column(title)
    for heading in ("rows", "A", "B", "ratio", "95 % interval", "B better"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("all", *_cells(kind.overall), style="bold")
    for breakdown in kind.breakdowns:
        if breakdown.column is not None:
            table.add_section()
            for group in breakdown.groups[:SHOWN_GROUPS]:
                table.add_row(Text(f"{breakdown.column}: {group.label}"), *_cells(group.difference))
    return table


def _cells(found: Difference) -> list[str]:
    return [
        number(found.rows),
        significant(found.perplexity_a),
        significant(found.perplexity_b),
        ratio_text(found.ratio),
        ratio_between(found.ratio),
        percent(found.b_better),
    ]
