"""Exact quantiles of as many rows as there are: by a sort, which need not fit into memory."""

import math
from collections.abc import Sequence

from maskedge_batch.reports.tables import Database

__all__ = ["quantiles"]


def quantiles(database: Database, expression: str, source: str, shares: Sequence[float]) -> list[float]:
    """For each share the least value that this share of the rows does not exceed.

    Args:
        database: With the tables.
        expression: In SQL, a double that is never null.
        source: What stands behind FROM; it has rows.
        shares: Above 0, at most 1.
    """
    (rows,) = database.execute(f"SELECT count(*) FROM {source}").fetchall()[0]
    places = [math.ceil(share * rows) for share in shares]
    ordered = f"SELECT {expression} AS value, row_number() OVER (ORDER BY {expression}) AS place FROM {source}"
    found = database.execute(
        f"SELECT place, value FROM ({ordered}) WHERE list_contains($1::BIGINT[], place)", [places]
    ).fetchall()
    values: dict[int, float] = dict(found)
    return [values[place] for place in places]
