"""As many rows as a measurement wants: the example sentences, each with a number behind it."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["score", "write_rows"]

EXAMPLES = Path(__file__).parents[1] / "examples" / "masked_sentences.parquet"
AT_ONCE = 50_000


def write_rows(path: Path, rows: int, different: int | None = None) -> Path:
    """Writes so many rows, no two of them alike unless only so many shall be different; returns the file."""
    examples = [row for row in pq.read_table(EXAMPLES).to_pylist() if row["text"]]
    parts = (range(start, min(start + AT_ONCE, rows)) for start in range(0, rows, AT_ONCE))
    tables = map(partial(_numbered, examples, different or rows), parts)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as file:
        for table in (first, *tables):
            file.write_table(table)
    return path


def score(source: str, output: str, *options: str) -> list[str]:
    """The command line that scores them."""
    return [sys.executable, "-m", "maskedge_batch", "score", source, "-o", output, "--quiet", *options]


def _numbered(examples: list[dict[str, Any]], different: int, numbers: range) -> pa.Table:
    """Examples over and over, each with a number behind it."""
    texts_of = [number % different for number in numbers]
    chosen = [examples[number % len(examples)] for number in texts_of]
    texts = [f"{row['text']} {number}" for number, row in zip(texts_of, chosen, strict=True)]
    return pa.table({"id": list(numbers), "text": texts, "target": [row["target"] for row in chosen]})
