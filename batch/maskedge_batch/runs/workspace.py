"""What a run keeps until it has ended: its plan, its lock, its parts and their receipts.

A process may be killed between any two steps. Everything here appears under its name complete or not at all, and in an
order in which what is there is always true: a part before its receipt, the plan before any part, the plan gone before
its parts are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from maskedge_batch.runs.lock import held
from maskedge_batch.runs.plan import Plan, Shard
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.storage.faults import naming_failed_reads, naming_failed_writes
from maskedge_batch.storage.locations import Location
from maskedge_batch.storage.publishing import publish_bytes, sweep

__all__ = ["Workspace", "sha256_of"]

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Workspace:
    """The place of one run, for one output."""

    root: Location
    """Holds the plan, the lock and the receipts."""
    parts: Location
    """Holds the parts: within `root`, or the directory that is the output."""

    @contextmanager
    def held(self, what: object) -> Iterator[None]:
        """Keeps other runs on this machine's file systems out while the block runs. Where no shard is done in the end,
        nothing stays. A store has no locks: two runs of one job do the same work there twice, to the same bytes.

        Raises:
            OutputError: Another run is in it, or it cannot be made.
        """
        if not self.root.is_local:
            yield
            return
        with held(self.root.local / "lock", what):
            try:
                yield
            finally:
                if not self._receipts.files():
                    self._remove()

    @property
    def spool(self) -> Location:
        """Where input that is no Parquet is written to as such."""
        return self.root / "spool"

    @property
    def _plan(self) -> Location:
        return self.root / "plan.json"

    @property
    def _marker(self) -> Location:
        return self.root / "publishing"

    @property
    def _receipts(self) -> Location:
        return self.root / "receipts"

    def read_plan(self) -> Plan | None:
        """The plan of the run that is in it; None where there is none. Raises InputError where it cannot be read."""
        said = _read(self._plan)
        return None if said is None else Plan.from_json(said)

    def begin(self, plan: Plan) -> None:
        """Starts with this plan, and nothing else. Raises OutputError or WriteError where nothing can be written."""
        self.clear()
        with naming_failed_writes(self.root):
            self._receipts.make_directory()
            self.parts.make_directory()
        publish_bytes(self._plan, plan.to_json().encode())

    def part(self, shard: Shard) -> Location:
        """Where a shard's part lies once it is done."""
        return self.parts / shard.name

    def _receipt(self, shard: Shard) -> Location:
        return self._receipts / shard.name.replace(".parquet", ".json")

    def write_receipt(self, shard: Shard, receipt: Receipt) -> None:
        """Says that a shard is done. Its part has been published before."""
        publish_bytes(self._receipt(shard), receipt.to_json().encode())

    def done(self, plan: Plan) -> list[Receipt]:
        """The receipts of the plan's shards that are done, in order. One is not where there is no receipt, or its part
        is missing or another than the one it is for. Raises InputError where they cannot be read."""
        with naming_failed_reads(self._receipts):
            there = {receipt.name for receipt in self._receipts.files()}
        found = (self._checked(shard, plan) for shard in plan.shards if self._receipt(shard).name in there)
        return [receipt for receipt in found if receipt is not None]

    def _checked(self, shard: Shard, plan: Plan) -> Receipt | None:
        said = _read(self._receipt(shard))
        receipt = None if said is None else Receipt.from_json(said)
        expected = plan.fingerprint.digest, shard.number, shard.rows
        if receipt is None or (receipt.job, receipt.shard, receipt.rows) != expected:
            return None
        part = self.part(shard)
        with naming_failed_reads(part):
            whole = part.is_file() and part.size() == receipt.size and sha256_of(part) == receipt.sha256
        return receipt if whole else None

    def mark_publishing(self) -> None:
        """Says that from here on what lies at the output's place may be this run's own."""
        publish_bytes(self._marker, b"")

    @property
    def is_publishing(self) -> bool:
        """Whether `mark_publishing` was called for this plan."""
        return self._marker.exists()

    def sweep(self, plan: Plan) -> None:
        """Removes what killed runs of this plan were writing."""
        shards = (place for shard in plan.shards for place in (self.part(shard), self._receipt(shard)))
        sweep(self._plan, self._marker, *shards)

    def clear(self) -> None:
        """Takes away the plan, and then what belongs to it. Raises WriteError."""
        with naming_failed_writes(self.root):
            for place in (self._plan, self._marker, self._receipts, *self._all_parts()):
                place.remove()

    def end(self) -> None:
        """Takes away everything but the lock. Raises WriteError."""
        self.clear()
        with naming_failed_writes(self.root):
            self.spool.remove()
            if not self.root.is_local:
                self.root.remove()

    def _all_parts(self) -> list[Location]:
        if self.parts.path.startswith(f"{self.root.path}/"):
            return [self.parts]
        return [file for file in self.parts.files(recursive=False) if file.name.startswith("part-")]

    def _remove(self) -> None:
        """The lock last: who takes it finds nothing else that still goes away."""
        self.end()
        (self.root / "lock").remove()
        self.root.remove()


def sha256_of(place: Location) -> str:
    """Of a file's bytes, in hexadecimal. Raises OSError."""
    digest = sha256()
    with place.stream() as stream:
        while piece := stream.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _read(place: Location) -> bytes | None:
    with naming_failed_reads(place):
        return place.read_bytes() if place.is_file() else None
