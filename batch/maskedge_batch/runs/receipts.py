"""A shard's receipt: written after its part is published, and what tells that the part is done and whole."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["Receipt", "Totals"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a shard."""

    job: str
    """The digest of the job's fingerprint."""
    shard: int
    """The shard's number."""
    rows: int
    """Rows of the part."""
    size: int
    """Bytes of the part."""
    sha256: str
    """Of the part's bytes, in hexadecimal."""
    statuses: Mapping[str, int]
    """Rows by their `mlm_status`."""
    seconds: float
    """Spent on the shard from reading to publishing."""

    def to_json(self) -> str:
        """The receipt as it lies on disk."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Receipt | None":
        """The receipt; None where it is none that this version could have written."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


@dataclass(slots=True)
class Totals:
    """The sums over receipts."""

    rows: int = 0
    size: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> "Totals":
        """Of all receipts, in the order of their shards."""
        totals = cls()
        for receipt in sorted(receipts, key=lambda receipt: receipt.shard):
            totals.rows += receipt.rows
            totals.size += receipt.size
            totals.seconds += receipt.seconds
            totals.statuses.update(receipt.statuses)
        return totals
