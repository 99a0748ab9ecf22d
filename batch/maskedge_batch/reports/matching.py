"""The rows of two scored sets brought together, with what each model lost on them."""

from collections.abc import Sequence
from typing import Any

from maskedge_batch.errors import InputError
from maskedge_batch.reports.scored import ScoredFiles
from maskedge_batch.reports.tables import Database, fill_tables

__all__ = ["UNITS", "match_rows"]

UNITS = {
    "word": "a.words IS NOT NULL AND a.words = b.words AND a.words > 0",
    "token": "a.tokens = b.tokens AND a.tokens > 0",
}
"""What the loss of a text without masks may be divided by, and when: the first that holds for all texts is taken."""

PAIRS = "CREATE TABLE pairs AS SELECT a.row AS row, b.row AS other FROM a.rows AS a JOIN b.rows AS b ON {condition}"
COMPARED = """
CREATE TABLE compared_{kind} AS
SELECT pairs.row AS row, pairs.other AS other, rows.bucket AS bucket, rows.tokens AS tokens, units, loss_a, loss_b{by}
FROM ({losses}) AS losses JOIN pairs USING (row) JOIN a.rows AS rows ON rows.row = pairs.row
"""
MASKED = """
SELECT pairs.row AS row, count(*) AS units, sum(-a.logprob) AS loss_a, sum(-b.logprob) AS loss_b
FROM pairs JOIN a.masks AS a ON a.row = pairs.row JOIN b.masks AS b ON b.row = pairs.other AND b.mask = a.mask
WHERE a.logprob IS NOT NULL AND b.logprob IS NOT NULL AND NOT (isinf(a.logprob) AND isinf(b.logprob))
GROUP BY pairs.row
"""
UNMASKED = """
SELECT pairs.row AS row, a.{unit}s AS units, -a.pll AS loss_a, -b.pll AS loss_b
FROM pairs JOIN a.rows AS a ON a.row = pairs.row JOIN b.rows AS b ON b.row = pairs.other
WHERE a.pll IS NOT NULL AND b.pll IS NOT NULL AND NOT (isinf(a.pll) AND isinf(b.pll))
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
    database.execute(PAIRS.format(condition="a.row = b.row" if key is None else "a.key = b.key"))
    _refuse_other_texts(database, key)
    groups = "".join(f", rows.by{number} AS by{number}" for number in range(len(by)))
    database.execute(COMPARED.format(kind="masked", losses=MASKED, by=groups))
    unit = _unit(database)
    losses = UNMASKED.format(unit=unit or "token") + ("" if unit else "AND false")
    database.execute(COMPARED.format(kind="unmasked", losses=losses, by=groups))
    return unit


def _unit(database: Database) -> str | None:
    """What both sets count alike in all texts that both scored."""
    both = UNMASKED.format(unit="token")
    for unit, condition in UNITS.items():
        conditions = both.replace("WHERE", f"WHERE ({condition}) IS NOT TRUE AND", 1)
        if not database.execute(f"SELECT count(*) FROM ({conditions})").fetchall()[0][0]:
            return unit
    return None


def _named(scored: ScoredFiles) -> str:
    first, *others = scored.paths
    return str(first.parent if others else first)


def _refuse_repeated(database: Database, key: str) -> None:
    for side, name in (("a", "first"), ("b", "second")):
        found = _first(
            database, f"SELECT key FROM {side}.rows WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1 ORDER BY key"
        )
        if found is not None:
            raise InputError(
                f"The {name} has more than one row whose {key} is {found[0]!r}: name a column with --key that tells "
                "rows apart."
            )


def _refuse_other_texts(database: Database, key: str | None) -> None:
    """Where rows that were matched hold different texts, or different words at their masks."""
    joined = "FROM pairs JOIN a.rows AS a ON a.row = pairs.row JOIN b.rows AS b ON b.row = pairs.other"
    texts = f"SELECT a.row, b.row, a.key {joined} WHERE a.text IS DISTINCT FROM b.text ORDER BY a.row"
    words = (
        f"SELECT a.row, b.row, a.key {joined} JOIN a.masks AS ma ON ma.row = a.row "
        "JOIN b.masks AS mb ON mb.row = b.row AND mb.mask = ma.mask "
        "WHERE ma.word <> mb.word ORDER BY a.row"
    )
    for what, query in (("texts", texts), ("targets", words)):
        found = _first(database, query)
        if found is not None:
            row, other, value = found
            where = f"row {row:,} (the first is 0)" if key is None else f"the row whose {key} is {value!r}"
            beyond = "" if key is None else f", {row:,} of the first and {other:,} of the second,"
            raise InputError(
                f"The two sets hold different {what} in {where}{beyond}: compare scores of the same rows"
                + (", or name the column that tells rows apart with --key." if key is None else ".")
            )


def _first(database: Database, query: str) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = database.execute(f"{query} LIMIT 1").fetchone()
    return found
