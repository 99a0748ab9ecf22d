"""Sums over the rows of each group and bucket, from which figures and their intervals are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskedge.arrays import Float64Array
from maskedge_batch.reports.bootstrap import Estimate, Resampling, Total, ratio
from maskedge_batch.reports.tables import Database, row_ranges

__all__ = ["Cell", "Grouped", "exact_sum", "group_sums"]

DECIMAL = "DECIMAL(38, 15)"
"""What values are added up as: a sum of such numbers does not depend on their order. 15 digits of a nat are enough."""
GREATEST = "1e15"
"""From here on, nats count as infinite: as a perplexity they are. A hundred million such numbers fit into a sum."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One group's sums."""

    rows: int
    sums: Mapping[str, Total]
    """By quantity."""
    counts: Mapping[str, Total]
    """How many values each quantity has."""

    def count(self, quantity: str) -> int:
        """How many values a quantity has."""
        return round(self.counts[quantity].value)

    def mean(self, quantity: str) -> Estimate | None:
        """Of a quantity's values; None where it has none."""
        return ratio(self.sums[quantity], self.counts[quantity], self.rows)


@dataclass(frozen=True, slots=True)
class Grouped:
    """The sums of the largest groups."""

    cells: Mapping[Any, Cell]
    """By the group's key, smallest first."""
    groups_left_out: int
    rows_left_out: int


def group_sums(
    database: Database,
    source: str,
    quantities: Mapping[str, str],
    resampling: Resampling,
    *,
    key: str = "0",
    most: int = 1000,
) -> Grouped:
    """Sums over a table, or a query in parentheses, that has the columns `row` and `bucket`.

    Args:
        database: With the tables.
        source: What stands behind FROM.
        quantities: By their names, SQL expressions of doubles. A null is no value; infinite values must have the sign
            plus.
        resampling: Whose buckets there are.
        key: An SQL expression of the group.
        most: Groups to keep: those with the most rows.
    """
    keyed = f"SELECT *, {key} AS class FROM {source}"
    _count_rows(database, source, keyed)
    largest = f"SELECT * FROM sizes ORDER BY size DESC, class NULLS FIRST LIMIT {most}"
    kept = database.execute(f"SELECT class, size FROM ({largest}) ORDER BY class NULLS FIRST").fetchall()
    groups, rows = database.execute("SELECT count(*), coalesce(sum(size), 0) FROM sizes").fetchall()[0]
    sums = ", ".join(_sums(number, expression) for number, expression in enumerate(quantities.values()))
    found = database.execute(
        f"SELECT keyed.class AS class, bucket, {sums} FROM ({keyed}) AS keyed JOIN ({largest}) AS largest "
        "ON keyed.class IS NOT DISTINCT FROM largest.class GROUP BY keyed.class, bucket"
    ).fetchnumpy()
    cells = {each: _cell(_own(found, each), size, quantities, resampling) for each, size in kept}
    return Grouped(cells, groups - len(kept), int(rows) - sum(size for _, size in kept))


def _count_rows(database: Database, source: str, keyed: str) -> None:
    """Makes the table `sizes`: the rows of each class. Ranges of rows have no row in common, so their counts add up."""
    database.execute(f"CREATE OR REPLACE TABLE parts AS SELECT class, 0 AS size FROM ({keyed}) LIMIT 0")
    for condition in row_ranges(database, source):
        distinct = f"SELECT DISTINCT class, row FROM ({keyed}) WHERE {condition}"
        database.execute(f"INSERT INTO parts SELECT class, count(*) FROM ({distinct}) GROUP BY class")
    database.execute(
        "CREATE OR REPLACE TABLE sizes AS SELECT class, sum(size)::BIGINT AS size FROM parts GROUP BY class"
    )


def exact_sum(expression: str) -> str:
    """In SQL, the sum of a double over a group's rows, plus infinity where any is; in whatever order they come."""
    return f"CASE WHEN {_infinite(expression)} > 0 THEN 'infinity'::DOUBLE ELSE {_finite_sum(expression)} END"


def _sums(number: int, expression: str) -> str:
    return (
        f"{_finite_sum(expression)} AS sum{number}, {_infinite(expression)} AS infinite{number}, "
        f"count({expression}) AS count{number}"
    )


def _finite_sum(expression: str) -> str:
    return f"sum(CASE WHEN abs({expression}) < {GREATEST} THEN ({expression})::{DECIMAL} END)::DOUBLE"


def _infinite(expression: str) -> str:
    return f"count_if({expression} >= {GREATEST})::BIGINT"


def _own(found: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """The sums of one group's buckets."""
    keys = np.ma.asarray(found["class"])
    own = np.ma.getmaskarray(keys) if key is None else np.asarray((keys == key).filled(False))
    return {name: np.ma.filled(values[own], 0) for name, values in found.items() if name != "class"}


def _cell(own: Mapping[str, Any], rows: int, quantities: Mapping[str, str], resampling: Resampling) -> Cell:
    def dense(name: str) -> Float64Array:
        """[buckets, quantities]"""
        table = np.zeros((resampling.buckets, len(quantities)))
        for number in range(len(quantities)):
            table[own["bucket"], number] = own[f"{name}{number}"]
        return table

    sums = resampling.totals(dense("sum"), dense("infinite"))
    counts = resampling.totals(dense("count"))
    return Cell(rows, dict(zip(quantities, sums, strict=True)), dict(zip(quantities, counts, strict=True)))
