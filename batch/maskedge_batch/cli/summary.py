"""What a command prints at its end: figures, and the files that hold more."""

from collections.abc import Iterable, Iterator, Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskedge_batch.cli.progress import speed
from maskedge_batch.reports.bootstrap import Estimate
from maskedge_batch.reports.report import MaskedMetrics, Report, UnmaskedFigures
from maskedge_batch.reports.wording import between, number, percent, significant

__all__ = ["print_summary", "report_figures"]


def print_summary(figures: Iterable[tuple[str, str]], files: Mapping[str, object], console: Console) -> None:
    """Prints figures and files, each with what it is called."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    for label, value in figures:
        table.add_row(label, value)
    console.print(table)
    # Outside the table: paths stay in one piece however narrow the terminal is.
    for label, path in files.items():
        console.print(f"  [bold]{label}[/]  ", Text(str(path)), sep="", soft_wrap=True, highlight=False)


def report_figures(report: Report) -> Iterator[tuple[str, str]]:
    """The figures of a report that a terminal shows."""
    yield "rows scored", f"{report.rows_ok:,} of {report.rows:,}"
    for reason, rows in report.set_aside.items():
        yield f"  set aside, {reason}", f"{rows:,}"
    if report.masked:
        yield from _masked(report.masked)
    if report.unmasked:
        yield from _unmasked(report.unmasked.overall)
    if report.rows_per_second is not None:
        yield "rows/s", speed(report.rows_per_second)


def _masked(metrics: MaskedMetrics) -> Iterator[tuple[str, str]]:
    overall = metrics.overall
    if overall is None:
        yield "mean entropy", f"{metrics.mean_entropy.value:.2f} nats over {_counted(metrics.masks, 'mask')}"
        return
    yield "masked perplexity", _over(overall.perplexity, _counted(overall.targets, "target"))
    shares = {f"top-{each.k}": percent(each.share.value) for each in overall.accuracies}
    yield ", ".join(shares), ", ".join(shares.values())


def _unmasked(figures: UnmaskedFigures) -> Iterator[tuple[str, str]]:
    yield "pseudo-perplexity", _over(figures.pseudo_perplexity, _counted(figures.tokens, "token"))
    if figures.pseudo_perplexity_per_word:
        yield "  per word", _over(figures.pseudo_perplexity_per_word, _counted(figures.words, "word"))


def _counted(count: int | None, what: str) -> str:
    return f"{number(count)} {what}{'s' if count != 1 else ''}"


def _over(estimate: Estimate, base: str) -> str:
    interval = "" if estimate.low is None else f" ({between(estimate)})"
    return f"{significant(estimate.value)}{interval} over {base}"
