"""Two scored sets -> their comparison."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from maskedge.inference.metrics import perplexity
from maskedge_batch.reports import bootstrap
from maskedge_batch.reports.bootstrap import Resampling, estimate
from maskedge_batch.reports.breakdowns import LENGTH, MOST_GROUPS, length_label, value_label
from maskedge_batch.reports.comparison import (
    ComparedBreakdown,
    ComparedGroup,
    ComparedKind,
    Comparison,
    Difference,
    DifferenceBin,
    RowChange,
    Side,
)
from maskedge_batch.reports.definitions import COMPARISON_DEFINITIONS, SAME_NATS
from maskedge_batch.reports.examples import EXAMPLES, examples
from maskedge_batch.reports.grouping import Cell, group_sums
from maskedge_batch.reports.matching import match_rows
from maskedge_batch.reports.quantiles import quantiles
from maskedge_batch.reports.report import Intervals
from maskedge_batch.reports.scored import ScoredFiles, open_scored
from maskedge_batch.reports.tables import Database, open_database
from maskedge_batch.storage.locations import Place

__all__ = ["make_comparison"]

CHANGE = "(loss_b - loss_a) / units"
"""Of a row, nats for each unit."""
QUANTITIES = {
    "a": "loss_a",
    "b": "loss_b",
    "units": "units::DOUBLE",
    "b_better": f"({CHANGE} < -{SAME_NATS})::DOUBLE",
    "a_better": f"({CHANGE} > {SAME_NATS})::DOUBLE",
}
HALF_BINS = 20
"""Bins of the histogram on either side of 0."""


def make_comparison(
    a: Sequence[Place], b: Sequence[Place], *, by: Sequence[str] = (), key: str | None = None
) -> Comparison:
    """Compares what two models, or two states of one, said of the same rows.

    Args:
        a: Scored files, or directories of them, of the first.
        b: Of the second.
        by: Columns of the first whose values divide the rows into groups that are compared apart.
        key: The column that rows are matched by; None: by their position.

    Raises:
        LocationError: There is no way to a place that was named.
        InputError: A file is no scored one or is damaged, the rows do not match, or a column does not exist.
    """
    first, second = open_scored(a), open_scored(b)
    names = _names(first, second)
    resampling = Resampling(min(first.rows, bootstrap.BUCKETS))
    with open_database() as database:
        unit = match_rows(database, first, second, by, key)
        (rows,) = database.execute("SELECT count(*) FROM pairs").fetchall()[0]

        def compared(kind: str, unit: str) -> ComparedKind | None:
            return _Kind(database, resampling, first, second, kind).compared(unit, by)

        return Comparison(
            a=_side(names[0], first),
            b=_side(names[1], second),
            key=key,
            rows=rows,
            rows_only_a=first.rows - rows,
            rows_only_b=second.rows - rows,
            masked=compared("masked", "target word"),
            unmasked=compared("unmasked", unit or "token"),
            notes=tuple(_notes(first, second, unit)),
            intervals=Intervals(bootstrap.LEVEL, bootstrap.RESAMPLES, resampling.buckets),
            definitions=COMPARISON_DEFINITIONS,
        )


def _notes(a: ScoredFiles, b: ScoredFiles, unit: str | None) -> Iterator[str]:
    if unit is None:
        yield (
            "Texts without masks are not compared: the two sets count neither words nor the same tokens. "
            "Score them again, with a version that counts words."
        )
    methods = [scored.provenance.options.get("method", "original") for scored in (a, b)]
    if methods[0] != methods[1]:
        yield (
            f"Texts without masks were scored by different methods, {methods[0]} and {methods[1]}: their difference is "
            "not one of the models alone."
        )


def _names(a: ScoredFiles, b: ScoredFiles) -> tuple[str, str]:
    """What tells the two apart: the model; where that is the same, with its precision or runtime; else the files."""
    one, other = a.provenance, b.provenance
    if one.model != other.model:
        return one.model, other.model
    if one.precision != other.precision:
        return f"{one.model} {one.precision}", f"{other.model} {other.precision}"
    if one.runtime != other.runtime:
        return f"{one.model} {one.runtime}", f"{other.model} {other.runtime}"
    return a.paths[0].name, b.paths[0].name


def _side(name: str, scored: ScoredFiles) -> Side:
    return Side(name, tuple(path.name for path in scored.paths), scored.provenance)


class _Kind:
    """One kind of text, with masks or without, as `match_rows` left it."""

    def __init__(self, database: Database, resampling: Resampling, a: ScoredFiles, b: ScoredFiles, kind: str) -> None:
        self._database, self._resampling = database, resampling
        self._a, self._b = a, b
        self._table = f"compared_{kind}"

    def compared(self, unit: str, by: Sequence[str]) -> ComparedKind | None:
        """None where there are no such rows."""
        cells = group_sums(self._database, self._table, QUANTITIES, self._resampling).cells
        if not cells:
            return None
        return ComparedKind(
            unit=unit,
            overall=_difference(cells[0]),
            breakdowns=tuple(self._breakdowns(by)),
            histogram=self._histogram(),
            improved=self._changed("<", "ASC"),
            worsened=self._changed(">", "DESC"),
        )

    def _breakdowns(self, by: Sequence[str]) -> Iterator[ComparedBreakdown]:
        for number, name in enumerate(by):
            yield self._breakdown(f"by {name}", name, f"by{number}", value_label)
        lengths = self._breakdown("by length of the text, in tokens", None, LENGTH, length_label)
        if len(lengths.groups) > 1:
            yield lengths

    def _breakdown(self, title: str, column: str | None, key: str, label: Callable[[Any], str]) -> ComparedBreakdown:
        found = group_sums(self._database, self._table, QUANTITIES, self._resampling, key=key, most=MOST_GROUPS)
        groups = tuple(ComparedGroup(label(each), _difference(cell)) for each, cell in found.cells.items())
        return ComparedBreakdown(title, column, groups, found.groups_left_out, found.rows_left_out)

    def _histogram(self) -> tuple[DifferenceBin, ...]:
        """Over what 98 % of the rows span, the same on either side of 0."""
        (most,) = quantiles(self._database, f"least(abs({CHANGE}), 1e6)", self._table, [0.98])
        reach = _nice(most)
        width = reach / HALF_BINS
        place = f"greatest(-{HALF_BINS}, least({HALF_BINS - 1}, floor({CHANGE} / {width!r})))::BIGINT"
        query = f"SELECT {place} AS place, count(*) FROM {self._table} GROUP BY place"
        rows = dict(self._database.execute(query).fetchall())
        places = range(-HALF_BINS, HALF_BINS)
        return tuple(DifferenceBin(each * width, (each + 1) * width, rows.get(each, 0)) for each in places)

    def _changed(self, sign: str, order: str) -> tuple[RowChange, ...]:
        query = (
            f"SELECT row, other, loss_a, loss_b, units, {CHANGE} AS change FROM {self._table} "
            f"WHERE change {sign} 0 ORDER BY change {order}, row LIMIT {EXAMPLES}"
        )
        found = self._database.execute(query).fetchall()
        before = examples(self._a, [(row, perplexity(-a, units)) for row, _, a, _, units, _ in found])
        after = examples(self._b, [(other, perplexity(-b, units)) for _, other, _, b, units, _ in found])
        return tuple(RowChange(one, other, row[-1]) for one, other, row in zip(before, after, found, strict=True))


def _difference(cell: Cell) -> Difference:
    a, b = cell.sums["a"], cell.sums["b"]
    units = round(cell.sums["units"].value)
    with np.errstate(invalid="ignore"):  # of two infinities there is no difference
        draws = (b.draws - a.draws) / cell.sums["units"].draws
    difference = estimate((b.value - a.value) / units, draws, cell.rows)
    return Difference(
        rows=cell.rows,
        units=units,
        perplexity_a=perplexity(-a.value, units),
        perplexity_b=perplexity(-b.value, units),
        difference=difference,
        ratio=difference.map(lambda nats: nats if math.isnan(nats) else perplexity(-nats, 1)),
        b_better=cell.sums["b_better"].value / cell.rows,
        a_better=cell.sums["a_better"].value / cell.rows,
    )


def _nice(value: float) -> float:
    """1, 2 or 5 times a power of ten, not less than the value."""
    if value <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(value))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= value * (1 - 1e-12))
