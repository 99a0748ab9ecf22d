"""What a run does, cut into shards before anything runs, and the same however often it is cut."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from maskedge_batch.runs.fingerprint import Fingerprint

__all__ = ["SHARD_BYTES", "SHARD_ROWS", "Piece", "Plan", "RowGroup", "Shard", "cut"]

FORMAT = 1
"""Of the plan on disk; one of another format is no plan."""
SHARD_ROWS = 10_000
"""Rows of a shard at most: some seconds to minutes of work, which is what a killed run loses."""
SHARD_BYTES = 2 << 20
"""Bytes of a shard's texts at most: 10,000 sentences have half of it, and longer texts take the model longer."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What a row group's metadata say of the work in it."""

    rows: int
    """Those that belong to the input."""
    text_bytes: int
    """Bytes of their texts, not compressed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one file that follow each other."""

    file: int
    """The file's number in the job's input, from 0."""
    first_row: int
    """Its first row's number among those of the file that belong to the input, from 0."""
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work: pieces that follow each other in the input."""

    number: int
    """From 0, in the order of the input's rows."""
    pieces: tuple[Piece, ...]
    first_row: int
    """Its first row's number in the whole input, from 0."""

    @property
    def rows(self) -> int:
        """Rows of all pieces."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def name(self) -> str:
        """The name of the part that it becomes: `part-000012.parquet`; they sort as the rows do, up to 10 billion."""
        return f"part-{self.number:06}.parquet"


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards of a job, with what tells the job from others."""

    fingerprint: Fingerprint
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    def to_json(self) -> str:
        """The plan as it lies on disk."""
        shards = [asdict(shard) for shard in self.shards]
        return json.dumps({"format": FORMAT, "fingerprint": dict(self.fingerprint.parts), "shards": shards}) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Plan | None":
        """The plan; None where it is none that this version could have written."""
        try:
            said = json.loads(text)
            if said["format"] != FORMAT:
                return None
            return cls(Fingerprint(said["fingerprint"]), tuple(map(_shard, said["shards"])))
        except (ValueError, LookupError, TypeError):
            return None


def _shard(said: dict[str, object]) -> Shard:
    shard = Shard(**said)  # type: ignore[arg-type]  # what is no shard raises, or is refused as another plan
    return replace(shard, pieces=tuple(Piece(**piece) for piece in shard.pieces))  # type: ignore[arg-type]


def cut(
    files: Sequence[Iterable[RowGroup]], shard_rows: int = SHARD_ROWS, shard_bytes: int = SHARD_BYTES
) -> tuple[Shard, ...]:
    """Cuts files into shards: row groups are kept whole and joined, over the ends of files too, as long as they fit;
    one that is too large by itself is divided evenly.

    Args:
        files: The row groups of each file.
        shard_rows: Rows of a shard at most.
        shard_bytes: Bytes of a shard's texts at most, as far as the sizes of its row groups tell.

    Returns:
        Shards that hold every row once, in order; one without rows where there are none, so that there is a part to
            carry the schema.
    """
    shards: list[Shard] = []
    pieces: list[Piece] = []
    first_row = rows = 0
    size = 0.0
    for piece, piece_bytes in _slices(files, shard_rows, shard_bytes):
        if pieces and (rows + piece.rows > shard_rows or size + piece_bytes > shard_bytes):
            shards.append(Shard(len(shards), tuple(pieces), first_row))
            pieces, first_row, rows, size = [], first_row + rows, 0, 0
        _append(pieces, piece)
        rows, size = rows + piece.rows, size + piece_bytes
    if pieces or not shards:
        shards.append(Shard(len(shards), tuple(pieces), first_row))
    return tuple(shards)


def _slices(files: Sequence[Iterable[RowGroup]], shard_rows: int, shard_bytes: int) -> Iterator[tuple[Piece, float]]:
    """Row groups, those divided that are larger than a shard, with their shares of the bytes."""
    for file, groups in enumerate(files):
        start = 0
        for group in groups:
            parts = max(math.ceil(group.rows / shard_rows), math.ceil(group.text_bytes / shard_bytes))
            parts = max(1, min(parts, group.rows))
            edges = [start + group.rows * part // parts for part in range(parts + 1)]
            for first, end in pairwise(edges):
                if end > first:
                    yield Piece(file, first, end - first), group.text_bytes / parts
            start += group.rows


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Adds a piece, as a part of the last one where it follows it in the same file."""
    last = pieces[-1] if pieces else None
    if last and last.file == piece.file and last.first_row + last.rows == piece.first_row:
        pieces[-1] = replace(last, rows=last.rows + piece.rows)
    else:
        pieces.append(piece)
