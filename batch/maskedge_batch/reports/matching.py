"""The rows of two scored sets brought together, with what each model lost on them."""

from collections.abc import Sequence
from typing import Any

from maskedge_batch.errors import InputError
from maskedge_batch.reports.grouping import exact_sum
from maskedge_batch.reports.scored import ScoredFiles
from maskedge_batch.reports.tables import Database, fill_tables, row_ranges

__all__ = ["UNITS", "match_rows"]

UNITS = {
    "word": "a.words IS NOT NULL AND a.words = b.words AND a.words > 0",
    "token": "a.tokens = b.tokens AND a.tokens > 0",
}
"""What the loss of a text without masks may be divided by, and when: the first that holds for all texts is taken."""

BY_POSITION = "CREATE TABLE pairs AS SELECT row, row AS other FROM a.rows"
BY_KEY = "CREATE TABLE pairs AS SELECT a.row AS row, b.row AS other FROM a.rows AS a JOIN b.rows AS b ON a.key = b.key"

# The tables are joined for a range of A's rows at a time: {range}.
ROWS = """
(SELECT * FROM pairs WHERE {range}) AS pairs
JOIN (SELECT * FROM a.rows WHERE {range}) AS a ON a.row = pairs.row JOIN b.rows AS b ON b.row = pairs.other
"""
MASKS = """
(SELECT * FROM pairs WHERE {range}) AS pairs
JOIN (SELECT * FROM a.masks WHERE {range}) AS a ON a.row = pairs.row
JOIN b.masks AS b ON b.row = pairs.other AND b.mask = a.mask
"""
MASKED = f"""
SELECT pairs.row AS row, any_value(other) AS other, any_value(a.bucket) AS bucket, any_value(a.tokens) AS tokens,
    count(*) AS units, {exact_sum("-a.logprob")} AS loss_a, {exact_sum("-b.logprob")} AS loss_b{{by}}
FROM {MASKS}
WHERE a.logprob IS NOT NULL AND b.logprob IS NOT NULL AND NOT (isinf(a.logprob) AND isinf(b.logprob))
GROUP BY pairs.row
"""
BOTH_SCORED = "a.pll IS NOT NULL AND b.pll IS NOT NULL AND NOT (isinf(a.pll) AND isinf(b.pll))"
UNMASKED = f"""
SELECT pairs.row AS row, other, a.bucket AS bucket, a.tokens AS tokens, {{units}} AS units, -a.pll AS loss_a,
    -b.pll AS loss_b{{by}}
FROM {ROWS}
WHERE {BOTH_SCORED} AND {{units}} IS NOT NULL
"""


def match_rows(
    database: Database, a: ScoredFiles, b: ScoredFiles, by: Sequence[str] = (), key: str | None = None
) -> str | None:
    """Makes the tables `pairs`, `compared_masked` and `compared_unmasked` of two scored sets.

    A row of `compared_...` is a row that both models rated, with what each lost on it (nats), over how many units. What
    both rule out is left out: of two infinities there is no difference.

    Args:
        database: From `open_database`, empty.
        a: The first set.
        b: The second set.
        by: Columns of the first, under the names `by0`, `by1`, ...
        key: The column that rows are matched by; None: by their position.

    Returns:
        What the loss of a text without masks is divided by: "word" or "token"; None where the two sets count neither
        alike, and there are no such texts then.

    Raises:
        InputError: The rows do not match.
    """
    if key is None and a.rows != b.rows:
        raise InputError(
            f"{_named(a)} has {a.rows:,} rows and {_named(b)} {b.rows:,}, so they are not the same: name the column "
            "that tells rows apart with --key."
        )
    fill_tables(database, a, by, schema="a", key=key, hash_texts=True)
    fill_tables(database, b, schema="b", key=key, hash_texts=True)
    if key is not None:
        _refuse_repeated(database, key)
    database.execute(BY_POSITION if key is None else BY_KEY)
    ranges = list(row_ranges(database, "pairs"))
    _refuse_other_texts(database, ranges, key)
    _compare(
        database, "masked", MASKED, ranges, "".join(f", any_value(a.by{each}) AS by{each}" for each in range(len(by)))
    )
    unit = _unit(database, ranges)
    units = f"a.{unit}s" if unit else "NULL::BIGINT"
    groups = "".join(f", a.by{each} AS by{each}" for each in range(len(by)))
    _compare(database, "unmasked", UNMASKED.replace("{units}", units), ranges, groups)
    return unit


def _compare(database: Database, kind: str, query: str, ranges: Sequence[str], by: str) -> None:
    database.execute(f"CREATE TABLE compared_{kind} AS {query.format(range='false', by=by)}")
    for condition in ranges:
        database.execute(f"INSERT INTO compared_{kind} {query.format(range=condition, by=by)}")


def _unit(database: Database, ranges: Sequence[str]) -> str | None:
    """What both sets count alike in all texts that both scored."""
    for unit, alike in UNITS.items():
        differing = f"SELECT 1 FROM {ROWS} WHERE {BOTH_SCORED} AND ({alike}) IS NOT TRUE"
        if _first(database, differing, ranges) is None:
            return unit
    return None


def _named(scored: ScoredFiles) -> str:
    first, *others = scored.paths
    return str(first.parent if others else first)


def _refuse_repeated(database: Database, key: str) -> None:
    for side, name in (("a", "first"), ("b", "second")):
        found = database.execute(
            f"SELECT key FROM {side}.rows WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT 1"
        ).fetchone()
        if found is not None:
            raise InputError(
                f"The {name} has more than one row whose {key} is {found[0]!r}: name a column with --key that tells "
                "rows apart."
            )


def _refuse_other_texts(database: Database, ranges: Sequence[str], key: str | None) -> None:
    """Where rows that were matched hold different texts, or different words at their masks."""
    texts = f"SELECT a.row, b.row FROM {ROWS} WHERE a.text IS DISTINCT FROM b.text ORDER BY a.row"
    targets = f"SELECT a.row, b.row FROM {MASKS} WHERE a.word <> b.word ORDER BY a.row"
    for what, query in (("texts", texts), ("targets", targets)):
        found = _first(database, query, ranges)
        if found is not None:
            row, other = found
            raise InputError(
                f"The two sets hold different {what} in {_where(database, row, other, key)}: compare the same "
                "rows" + (", or name the column that tells rows apart with --key." if key is None else ".")
            )


def _where(database: Database, row: int, other: int, key: str | None) -> str:
    if key is None:
        return f"row {row:,} (the first is 0)"
    (value,) = database.execute("SELECT key FROM a.rows WHERE row = $1", [row]).fetchall()[0]
    return f"the row whose {key} is {value!r}, {row:,} of the first and {other:,} of the second"


def _first(database: Database, query: str, ranges: Sequence[str]) -> tuple[Any, ...] | None:
    """The first row that a query finds in any of the ranges."""
    for condition in ranges:
        found: tuple[Any, ...] | None = database.execute(f"{query.format(range=condition)} LIMIT 1").fetchone()
        if found is not None:
            return found
    return None
