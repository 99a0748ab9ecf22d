"""The engine of one machine: shards one after the other, each with all threads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from maskedge_batch.runs.model import Model
from maskedge_batch.runs.plan import Shard
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.runs.shard import OnRows, Work, run_shard
from maskedge_batch.scoring.profile import Profile

__all__ = ["LocalEngine"]


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Scores in this process."""

    workers: ClassVar[int] = 1
    model: Model
    threads: int | None = None
    """None: as many as there are CPUs."""
    check: Callable[[], None] = lambda: None
    """Called before each run of the model; to stop, it raises."""
    profile: Profile = field(default_factory=Profile)

    def run(self, shards: Sequence[Shard], work: Work, on_rows: OnRows) -> Iterator[Receipt]:
        """As `Engine.run`."""
        predictor = self.model.load(self.threads, lambda tokens: self.check())
        on_rows(0)
        for shard in shards:
            yield run_shard(shard, work, predictor, on_rows, self.profile)
