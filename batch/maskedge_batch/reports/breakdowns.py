"""The figures by groups: of columns, of lengths, of how common the words are, of how many pieces they have."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from maskedge_batch.reports.bootstrap import Resampling
from maskedge_batch.reports.extraction import COUNTED_TEXTS
from maskedge_batch.reports.figures import RATED, RATED_ROWS, Figures, MaskedMeasure, Measure, UnmaskedMeasure
from maskedge_batch.reports.grouping import group_sums
from maskedge_batch.reports.report import Breakdown, Group, MaskedFigures
from maskedge_batch.reports.tables import Database

__all__ = ["LENGTH", "MOST_GROUPS", "length_label", "masked_breakdowns", "unmasked_breakdowns", "value_label"]

MOST_GROUPS = 30
"""Of a column, those with the most rows are shown."""
LENGTH = "floor(log2(greatest(tokens, 1)))::BIGINT"
"""Texts from a power of 2 to the next share a group."""
DECADE = "CASE WHEN times = 0 THEN 0 ELSE length(times::VARCHAR) END"
"""0 for 0, 1 for 1 to 9, 2 for 10 to 99, ..."""
MOST_PIECES = 4
WITH_TIMES = f"(SELECT masks.*, coalesce(times, 0) AS times FROM {RATED} AS masks LEFT JOIN words USING (word))"

FREQUENCY_NOTE = (
    "By how often the target stands elsewhere in these texts, in any case; what stood at the masks is not counted"
    "{}. It needs no model: it is no frequency in what the model was trained on."
)


def masked_breakdowns(
    database: Database, by: Sequence[str], measure: MaskedMeasure, resampling: Resampling
) -> tuple[Breakdown, ...]:
    """Of targets at masks; only those with more than one group, but for the columns asked for."""

    def broken_down(title: str, note: str, source: str, key: str, label: Callable[[Any], str]) -> Breakdown:
        return _breakdown(database, measure, resampling, title, note, source, key, label)

    (rows,) = database.execute("SELECT count(*) FROM rows").fetchall()[0]
    sampled = f" (about {COUNTED_TEXTS:,} of the texts were)" if rows > COUNTED_TEXTS else ""
    fixed = [
        broken_down("by length of the text, in tokens", "", RATED, LENGTH, length_label),
        broken_down("by frequency of the target", FREQUENCY_NOTE.format(sampled), WITH_TIMES, DECADE, _times),
        broken_down("by pieces of the target", "", RATED, f"least(pieces, {MOST_PIECES})", _pieces),
    ]
    return (*_columns(by, RATED, broken_down), *(each for each in fixed if len(each.groups) > 1))


def unmasked_breakdowns(
    database: Database, by: Sequence[str], measure: UnmaskedMeasure, resampling: Resampling
) -> tuple[Breakdown, ...]:
    """Of texts without masks, as `masked_breakdowns`."""

    def broken_down(title: str, note: str, source: str, key: str, label: Callable[[Any], str]) -> Breakdown:
        return _breakdown(database, measure, resampling, title, note, source, key, label)

    fixed = [broken_down("by length of the text, in tokens", "", RATED_ROWS, LENGTH, length_label)]
    return (*_columns(by, RATED_ROWS, broken_down), *(each for each in fixed if len(each.groups) > 1))


def _columns(by: Sequence[str], source: str, broken_down: Callable[..., Breakdown]) -> Iterator[Breakdown]:
    """The groups of each column asked for, the hardest first."""
    for number, name in enumerate(by):
        found = broken_down(f"by {name}", "The hardest first.", source, f"by{number}", value_label)
        groups = sorted(found.groups, key=lambda group: -_hardness(group))
        yield Breakdown(found.title, found.note, tuple(groups), found.groups_left_out, found.rows_left_out)


def _hardness(group: Group) -> float:
    """The perplexity by which groups are sorted."""
    figures = group.figures
    return figures.perplexity.value if isinstance(figures, MaskedFigures) else figures.pseudo_perplexity.value


def _breakdown(
    database: Database,
    measure: Measure[Figures],
    resampling: Resampling,
    title: str,
    note: str,
    source: str,
    key: str,
    label: Callable[[Any], str],
) -> Breakdown:
    found = group_sums(database, source, measure.quantities, resampling, key=key, most=MOST_GROUPS)
    groups = tuple(Group(label(each), measure.of(cell)) for each, cell in found.cells.items())
    return Breakdown(title, note, groups, found.groups_left_out, found.rows_left_out)


def _times(decade: int) -> str:
    return _span(10 ** (decade - 1), 10**decade - 1) if decade else "nowhere else"


def length_label(power: int) -> str:
    """What a group of `LENGTH` is called."""
    return _span(2**power, 2 ** (power + 1) - 1)


def _span(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _pieces(pieces: int) -> str:
    return f"{pieces} or more" if pieces == MOST_PIECES else str(pieces)


def value_label(value: str | None) -> str:
    """What a group of a column is called."""
    return "(null)" if value is None else value
