"""What schedules shards: always the same function over them, here or elsewhere, so that the bytes are the same."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from maskedge_batch.runs.plan import Shard
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.runs.shard import OnRows, Work

__all__ = ["Engine"]


class Engine(Protocol):
    """One machine's threads, or a cluster."""

    @property
    def workers(self) -> int:
        """How many shards are scored at once."""

    def run(self, shards: Sequence[Shard], work: Work, on_rows: OnRows) -> Iterator[Receipt]:
        """Yields the receipt of each shard as it is done.

        Args:
            shards: Those that are not done yet.
            work: What they belong to.
            on_rows: Called with how many rows have just been scored, and with 0 when scoring begins; to stop the run,
                it raises.

        Raises:
            InputError: As `run_shard`.
            WriteError: As `run_shard`.
            WorkerError: A shard could not be scored, however often it was tried.
        """
