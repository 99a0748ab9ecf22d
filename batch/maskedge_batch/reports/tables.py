"""Scored rows as two tables of numbers in DuckDB, which keeps what memory does not hold in a file of its own.

`rows` has one row for each scored row, `masks` one for each mask; `words` says how often each word stands in the texts.
They are filled in one pass over the files, a batch at a time. Figures are then sums over them, by SQL: sums of decimal
numbers, which come out the same in whatever order they are added.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from maskedge.bundle.threads import usable_cpus
from maskedge_batch.errors import InputError, WriteError
from maskedge_batch.reports.extraction import mask_table, row_table, wanted_columns, word_counts
from maskedge_batch.reports.scored import ScoredFiles
from maskedge_batch.storage.scratch import scratch_directory

__all__ = ["Database", "fill_tables", "open_database", "row_ranges"]

Database: TypeAlias = duckdb.DuckDBPyConnection

MEMORY = "64MB"
"""What DuckDB may take; it keeps the rest in its file. What would need all rows at once is done by `row_ranges`."""
THREADS = 4
"""At most: each takes memory of its own."""
RANGE_ROWS = 200_000
ROWS = """
CREATE TABLE {schema}.rows (
    row BIGINT, bucket BIGINT, status VARCHAR, tokens BIGINT, truncated BOOLEAN,
    perplexity DOUBLE,    -- NULL where the row has none
    bin BIGINT,           -- of the histogram of perplexities
    pll DOUBLE, words BIGINT, characters BIGINT,  -- of a text without masks; NULL with masks
    masks BIGINT,         -- NULL where the row was not filled
    text UBIGINT,         -- a hash of the text, where it was asked for
    key VARCHAR{groups}
)
"""
MASKS = """
CREATE TABLE {schema}.masks (
    row BIGINT, bucket BIGINT, mask BIGINT, entropy DOUBLE,
    logprob DOUBLE, rank BIGINT, pieces BIGINT,  -- of the target; NULL where none was rated
    top DOUBLE,                                  -- probability of the most probable token
    word VARCHAR,                                -- the target
    tokens BIGINT{groups}                        -- of the row
)
"""


@contextmanager
def open_database() -> Iterator[Database]:
    """An empty database in a temporary file, which is removed afterwards.

    Raises WriteError where there is no room for what is kept there.
    """
    with scratch_directory() as directory, _naming_lack_of_room(directory):
        options: dict[str, Any] = {
            "memory_limit": MEMORY,
            "threads": min(usable_cpus(), THREADS),
            "temp_directory": str(directory / "more"),
            "preserve_insertion_order": False,
        }
        with duckdb.connect(directory / "tables.duckdb", config=options) as database:
            yield database


@contextmanager
def _naming_lack_of_room(directory: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        said = str(error).splitlines()[0]
        raise WriteError(
            f"The figures could not be worked out in {directory}: {said}. Make room there, or name another place for "
            "temporary files with TMPDIR."
        ) from error


def fill_tables(
    database: Database,
    scored: ScoredFiles,
    by: Sequence[str] = (),
    *,
    schema: str = "main",
    key: str | None = None,
    hash_texts: bool = False,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Makes the tables of scored files.

    Args:
        database: From `open_database`.
        scored: The files.
        by: Columns whose values the rows and masks are to have as strings, under the names `by0`, `by1`, ...
        schema: Where the tables are made; it is made too.
        key: The column whose values `rows` is to have as strings under the name `key`.
        hash_texts: Whether `rows` is to have a hash of each text.
        check: Called between batches of rows; to stop, it raises.

    Raises:
        InputError: A column does not exist or cannot be grouped by, or a file is damaged.
    """
    for name in [*by, *([key] if key else [])]:
        _check_groupable(scored, name)
    groups = "".join(f", by{number} VARCHAR" for number in range(len(by)))
    database.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for statement in (ROWS, MASKS, "CREATE TABLE {schema}.word_counts (word VARCHAR, times BIGINT)"):
        database.execute(statement.format(schema=schema, groups=groups))
    first = 0
    for batch in scored.batches(wanted_columns(scored, by, key)):
        numbers = np.arange(first, first + batch.num_rows)
        _insert(database, f"{schema}.rows", row_table(batch, numbers, scored, by, key, hash_texts=hash_texts))
        _insert(database, f"{schema}.masks", mask_table(batch, numbers, scored, by))
        if scored.provenance.target_column is not None:
            _insert(database, f"{schema}.word_counts", word_counts(batch, numbers, scored))
        first += batch.num_rows
        check()
    database.execute(
        f"CREATE TABLE {schema}.words AS SELECT word, sum(times)::BIGINT AS times "
        f"FROM {schema}.word_counts GROUP BY word"
    )
    database.execute(f"DROP TABLE {schema}.word_counts")


def row_ranges(database: Database, source: str) -> Iterator[str]:
    """Conditions in SQL that divide a table, or a query in parentheses, by its column `row`: for what would not fit
    into memory at once, such as a hash table of all rows."""
    (last,) = database.execute(f"SELECT max(row) FROM {source}").fetchall()[0]
    for first in range(0, -1 if last is None else last + 1, RANGE_ROWS):
        yield f"row BETWEEN {first} AND {first + RANGE_ROWS - 1}"


def _insert(database: Database, table: str, values: pa.Table) -> None:
    database.register("incoming", values)
    database.execute(f"INSERT INTO {table} SELECT * FROM incoming")
    database.unregister("incoming")


def _check_groupable(scored: ScoredFiles, name: str) -> None:
    if name not in scored.schema.names:
        raise InputError(f"The scored files have no column {name!r}: they have {', '.join(scored.schema.names)}.")
    kind = scored.schema.field(name).type
    if pat.is_nested(kind):
        raise InputError(f"The column {name!r} holds {kind}, which names no group: take one of strings or numbers.")
