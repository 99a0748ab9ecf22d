"""The engine of one machine: shards one after the other, each with all threads."""

from collections.abc import Iterable, Iterator

from maskedge import Predictor
from maskedge_batch.runs.plan import Shard
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.runs.shard import OnRows, Work, run_shard
from maskedge_batch.scoring.profile import Profile

__all__ = ["run_locally"]


def run_locally(
    shards: Iterable[Shard], work: Work, predictor: Predictor, on_rows: OnRows, profile: Profile
) -> Iterator[Receipt]:
    """Yields the receipt of each shard as it is done.

    Args:
        shards: Those that are not done yet.
        work: What they belong to.
        predictor: The model; its threads are all busy with one shard.
        on_rows: Called with how many rows have just been scored; to stop the run, it raises.
        profile: Is told what the time was spent on.

    Raises:
        InputError: As `run_shard`.
        WriteError: As `run_shard`.
    """
    for shard in shards:
        yield run_shard(shard, work, predictor, on_rows, profile)
