"""One shard from beginning to end: the unit of work, which every engine runs and which does no harm when run twice."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge import Predictor
from maskedge_batch.errors import WriteError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.runs.plan import Shard
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.runs.workspace import Workspace, sha256_of
from maskedge_batch.scoring.batches import MEMORY_BUDGET, score_batches
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile, Stage
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Location, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["OnRows", "Work", "run_shard"]

OnRows = Callable[[int], None]
"""Called with how many rows have just been scored."""


@dataclass(frozen=True)
class Work:
    """What the shards of a job have in common."""

    job: str
    """The digest of the job's fingerprint."""
    inputs: InputSet
    columns: Columns
    options: ScoringOptions
    schema: pa.Schema
    """Of the parts and of what is made of them."""
    writer_options: Mapping[str, Any]
    """What a `pq.ParquetWriter` has to be told besides."""
    workspace: Workspace
    memory_budget: int = MEMORY_BUDGET


def run_shard(
    shard: Shard,
    work: Work,
    predictor: Predictor,
    on_rows: OnRows = lambda rows: None,
    profile: Profile | None = None,
) -> Receipt:
    """Scores a shard's rows, publishes them as a part, and then its receipt.

    Args:
        shard: Which rows.
        work: What they belong to.
        predictor: The model.
        on_rows: Called with how many rows have just been scored; to stop, it raises, and nothing is published.
        profile: Is told what the time was spent on.

    Returns:
        The receipt.

    Raises:
        InputError: The input is damaged; named by its row group.
        WriteError: The part could not be written, or does not hold what was written.
    """
    began = time.monotonic()
    statuses: Counter[str] = Counter()
    part = work.workspace.part(shard)
    profile = profile or Profile()
    with staged(part) as (draft,):
        with ScoredWriter(draft, part, work.schema, **work.writer_options) as writer:
            for batch in _scored(shard, work, predictor, profile):
                with profile.measure(Stage.WRITE):
                    writer.write(batch)
                statuses.update(map(str, batch.column("mlm_status").to_pylist()))
                on_rows(batch.num_rows)
        rows = statuses.total()
        _check(draft, part, rows)
        size, sha256 = draft.stat().st_size, sha256_of(locate(draft))
    receipt = Receipt(work.job, shard.number, rows, size, sha256, dict(statuses), time.monotonic() - began)
    work.workspace.write_receipt(shard, receipt)
    return receipt


def _scored(shard: Shard, work: Work, predictor: Predictor, profile: Profile) -> Iterator[pa.RecordBatch]:
    rows, budget = _rows(shard, work), work.memory_budget
    return score_batches(rows, predictor, work.columns, work.options, memory_budget=budget, profile=profile)


def _rows(shard: Shard, work: Work) -> Iterator[pa.RecordBatch]:
    for piece in shard.pieces:
        yield from work.inputs.read(piece.file, piece.first_row, piece.rows)


def _check(draft: Path, part: Location, rows: int) -> None:
    """Reads the part as it lies on the disk, checksums and all."""
    with naming_failed_writes(part), pq.ParquetFile(draft, page_checksum_verification=True) as file:
        found = sum(batch.num_rows for batch in file.iter_batches())
    if found != rows:
        raise WriteError(f"{part} holds {found:,} rows of {rows:,} written: the disk may be failing.")
