"""The pure core: record batches -> the same rows with their scores."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event

import pyarrow as pa

from maskedge import Predictor
from maskedge.bundle.engine import Graph, Int64Array, Outputs
from maskedge.bundle.padding import Padding
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.in_order import in_order
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile, Stage
from maskedge_batch.scoring.rows import Row, ready_rows
from maskedge_batch.scoring.scores import append_scores, score_rows

__all__ = ["MEMORY_BUDGET", "score_batches"]

PIECE_TOKENS = 32_768
"""Tokens that the model reads for one result. Seconds of work, or half a minute for a large model, so that progress
shows; and a thousand sentences, so that those of one length fill batches: all at once would be 2 % faster."""

PIECE_BYTES = 32 << 20
"""Memory that is taken for one result, so far as rows can be divided."""

PIECES_AT_ONCE = 4
"""Pieces that are being scored at a time. One keeps the threads busy; the others are there when it waits for its last
batches, or for the first half of words of several pieces, and while its answers become columns."""

MEMORY_BUDGET = 128 << 20
"""Memory for rows on their way, bytes. Sentences with a mask take some 40 MB of it."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows that are scored together."""

    batch: pa.RecordBatch
    rows: list[Row]
    size: int
    """Bytes, nearly."""


def score_batches(
    batches: Iterator[pa.RecordBatch],
    predictor: Predictor,
    columns: Columns,
    options: ScoringOptions = ScoringOptions(),  # noqa: B008  frozen
    *,
    memory_budget: int = MEMORY_BUDGET,
    profile: Profile | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yields every row in order with its scores.

    A row that cannot be scored keeps its place, with nulls and the reason in `mlm_status`. A row's scores do not depend
    on the batch that it came in, nor on the number of threads, and nor do the batches that come back.

    Batches are read in one thread, in which texts become tokens; `predictor.threads` threads run the model; and while
    the caller has a result, the next ones are made. Rows that stand in a batch more than once, with the same targets,
    are scored once where the pieces below allow it.

    Args:
        batches: Rows with the columns that `columns` names.
        predictor: The model.
        columns: From `maskedge_batch.scoring.columns.choose_columns`, which checks that the rows have them.
        options: What is to be found out.
        memory_budget: Bytes for the rows that are read and whose scores were not taken yet. Beyond it fewer are read
            ahead; but one piece, of 32 MB or a single row, goes to the model however little there is, and beside it
            another batch is held as it was read. The model's own memory is not part of it.
        profile: Is told what the time was spent on.

    Yields:
        The rows, with the columns of `maskedge_batch.scoring.columns.SCORE_FIELDS` behind their own. A batch that takes
            the model long comes back in several pieces.

    Raises:
        ValueError: `options.top_k` is not from 0 to the vocabulary's size, and a text has a mask.
    """
    profile, abandoned = profile or Profile(), Event()
    graph = _WorkingGraph(predictor.graph, profile, abandoned)
    with replace(predictor, graph=graph).sharing_threads() as working:
        yield from in_order(
            partial(_score, predictor=working, options=options, profile=profile),
            _all_pieces(batches, predictor, columns, options, profile),
            at_once=PIECES_AT_ONCE,
            size=lambda piece: piece.size,
            budget=memory_budget,
            abandon=abandoned.set,
        )


class _AbandonedError(Exception):
    """Nobody wants the scores any more."""


class _WorkingGraph:
    """A graph whose time is measured, and which ends what is asked of it once nobody wants it."""

    def __init__(self, graph: Graph, profile: Profile, abandoned: Event) -> None:
        self._graph = graph
        self._profile = profile
        self._abandoned = abandoned

    @property
    def padding(self) -> Padding:
        """That of the graph."""
        return self._graph.padding

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        if self._abandoned.is_set():
            raise _AbandonedError
        with self._profile.measure(Stage.INFERENCE):
            return self._graph.run(outputs, inputs)


def _all_pieces(
    batches: Iterator[pa.RecordBatch],
    predictor: Predictor,
    columns: Columns,
    options: ScoringOptions,
    profile: Profile,
) -> Iterator[_Piece]:
    for batch in profile.each(Stage.READ, batches):
        rows = ready_rows(batch, predictor, columns, options)
        yield from profile.each(Stage.PREPARE, _pieces(batch, rows, predictor.encoder.max_length, options.top_k or 0))


def _pieces(batch: pa.RecordBatch, rows: Iterator[Row], max_length: int, top_k: int) -> Iterator[_Piece]:
    """The batch in pieces: each ends where its cost reaches `PIECE_TOKENS`, or its size `PIECE_BYTES`."""
    row_bytes = batch.nbytes // max(batch.num_rows, 1)
    start, piece = 0, _Draft()
    for row in rows:
        piece.add(row, row_bytes, max_length, top_k)
        if piece.cost >= PIECE_TOKENS or piece.size >= PIECE_BYTES:
            yield _Piece(batch.slice(start, len(piece.rows)), piece.rows, piece.size)
            start, piece = start + len(piece.rows), _Draft()
    if piece.rows:
        yield _Piece(batch.slice(start), piece.rows, piece.size)


@dataclass(slots=True)
class _Draft:
    """A piece that is not complete. What goes to the model once counts once."""

    rows: list[Row] = field(default_factory=list)
    distinct: set[Row] = field(default_factory=set)
    cost: int = 0
    size: int = 0

    def add(self, row: Row, row_bytes: int, max_length: int, top_k: int) -> None:
        self.rows.append(row)
        self.size += row_bytes
        if row not in self.distinct:
            self.distinct.add(row)
            self.cost += row.cost(max_length)
            self.size += row.size(top_k, max_length)


def _score(piece: _Piece, predictor: Predictor, options: ScoringOptions, profile: Profile) -> pa.RecordBatch:
    with profile.measure(Stage.CONVERT):
        return append_scores(piece.batch, score_rows(piece.rows, predictor, options))
