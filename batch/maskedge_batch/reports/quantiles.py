"""Exact quantiles of as many rows as there are, in memory that does not grow with them.

By the algorithm SELECT (Floyd & Rivest 1975): two values of a sample enclose the wanted one almost surely; the rows
between them are counted, and what is beside them is left out, until few rows are left. Nothing is sorted but those.
"""

import bisect
import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from maskedge_batch.reports.tables import Database

__all__ = ["quantiles"]

SAMPLE = 10_000
"""Rows that are drawn; fewer are left at the end."""
MARGIN = 0.02
"""Of the sample, to each side of where the wanted value is thought: 4 standard deviations of a middle place."""


def quantiles(database: Database, expression: str, source: str, shares: Sequence[float]) -> list[float]:
    """For each share the least value that this share of the rows does not exceed.

    Args:
        database: With the tables.
        expression: In SQL, a double that is never null.
        source: What stands behind FROM; it has rows.
        shares: Above 0, at most 1.
    """
    (rows,) = database.execute(f"SELECT count(*) FROM {source}").fetchall()[0]
    values = f"SELECT {expression} AS value FROM {source}"
    return [_select(database, values, rows, math.ceil(share * rows)) for share in shares]


def _select(database: Database, values: str, rows: int, place: int) -> float:
    """The value at a place, from 1, among the rows in ascending order."""
    while rows > SAMPLE:
        low, high = _enclosing(database, values, place / rows)
        least, most = f"'{low}'::DOUBLE", f"'{high}'::DOUBLE"
        at_low, at_high = f"value = {least}", f"value = {most} AND value > {least}"
        between = f"value > {least} AND value < {most}"
        parts = (f"value < {least}", at_low, between, at_high, f"value > {most}")
        counted = ", ".join(f"count_if({part})" for part in parts)
        counts = database.execute(f"SELECT {counted} FROM ({values})").fetchall()[0]
        part = bisect.bisect_left(list(accumulate(counts)), place)
        if parts[part] in (at_low, at_high):
            return low if parts[part] is at_low else high
        rows, place = counts[part], place - sum(counts[:part])
        values = f"SELECT value FROM ({values}) WHERE {parts[part]}"
    return float(database.execute(f"{values} ORDER BY value").fetchnumpy()["value"][place - 1])


def _enclosing(database: Database, values: str, share: float) -> tuple[float, float]:
    """Two values of a sample, a margin to each side of the one at that share of it."""
    drawn = f"SELECT value FROM ({values}) USING SAMPLE reservoir({SAMPLE} ROWS) REPEATABLE (0)"
    sample = np.sort(database.execute(drawn).fetchnumpy()["value"])
    ends = np.clip([share - MARGIN, share + MARGIN], 0, 1) * (len(sample) - 1)
    low, high = sample[ends.astype(int)].tolist()
    return low, high
