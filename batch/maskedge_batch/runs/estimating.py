"""What a job would do and how long it would take, from its plan and a few seconds of its work."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskedge import Predictor
from maskedge_batch.errors import OutputError
from maskedge_batch.inputs.arguments import files_of, named_inputs
from maskedge_batch.inputs.opening import Spool
from maskedge_batch.runs.beginning import foresee
from maskedge_batch.runs.job import Job, Prepared, make_plan, model_of, prepare
from maskedge_batch.runs.places import choose_places
from maskedge_batch.runs.plan import Piece, Plan
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.rows import ready_rows
from maskedge_batch.storage.scratch import scratch_directory

__all__ = ["Estimate", "estimate"]

SAMPLE_SECONDS = 3.0
"""Of scoring, from which the time of all is told."""
SAMPLE_PLACES = 16
"""Places of the input that rows are taken from, evenly spread."""
SAMPLE_ROWS = 256
"""Rows of each place whose lengths are looked at."""
SCORED_ROWS = 64
"""Rows of each place that are scored, as long as there is time."""
LONGEST_SHARE = 0.01
"""Of the rows: those that are told apart as the longest."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would do."""

    files: int
    rows: int
    shards: int
    """Parts that it is cut into."""
    model: str
    precision: str
    rows_per_second: float | None
    """None where there are no rows."""
    seconds: float | None
    """That scoring would take."""
    longest_share: float | None
    """The share of that time that the longest hundredth of the texts takes."""
    longest_tokens: int | None
    """What the model reads for a text of this hundredth at least. It reads a text without masks once for each of its
    tokens."""
    notes: tuple[str, ...]
    results: str | None = None
    """What lies at the place of the results, and what the job would do with it, a sentence; None where nothing does."""


def estimate(job: Job, check: Callable[[], None] = lambda: None, standard_input: BinaryIO | None = None) -> Estimate:
    """Looks at a job's input and scores a little of it. Writes nothing where the results would go.

    Args:
        job: What would be done.
        check: Called on the way; to stop, it raises.
        standard_input: What `-` stands for; it is read to its end.

    Raises:
        InputError: As `score_file`.
        BundleError: As `score_file`.
    """
    with scratch_directory() as directory:
        prepared = prepare(job, Spool(directory, job.text_column, standard_input, check))
        model = model_of(job)
        plan = make_plan(job, prepared, model)
        about = Estimate(
            len(prepared.inputs.files), plan.rows, len(plan.shards), model.name, model.precision,
            None, None, None, None, prepared.notes, _foreseen(job, plan),
        )  # fmt: skip
        if not plan.rows:
            return about
        predictor = model.load(job.threads, lambda tokens: check())
        samples = [_read(prepared, piece) for piece in _places(plan)]
        costs = np.concatenate([_costs(sample, predictor, prepared.columns, job.scoring) for sample in samples])
        pace = _tokens_per_second(samples, predictor, prepared.columns, job.scoring)
        seconds = float(costs.mean()) * plan.rows / pace
        longest = np.sort(costs)[-max(1, round(len(costs) * LONGEST_SHARE)) :]
        return replace(
            about,
            rows_per_second=plan.rows / seconds,
            seconds=seconds,
            longest_share=float(longest.sum() / costs.sum()),
            longest_tokens=int(longest[0]),
        )


def _foreseen(job: Job, plan: Plan) -> str | None:
    arguments = named_inputs(job.input)
    try:
        places = choose_places(arguments, files_of(arguments), job.output)
        places.check()
        return foresee(places, plan, overwrite=job.overwrite, resume=job.resume)
    except OutputError as error:
        return f"The run would be refused. {error}"


def _places(plan: Plan) -> Iterator[Piece]:
    """Pieces of a few rows, spread over the plan's."""
    pieces = [piece for shard in plan.shards for piece in shard.pieces]
    step = max(1.0, len(pieces) / SAMPLE_PLACES)
    for number in range(min(len(pieces), SAMPLE_PLACES)):
        piece = pieces[int(number * step)]
        yield replace(piece, rows=min(piece.rows, SAMPLE_ROWS))


def _read(prepared: Prepared, piece: Piece) -> pa.RecordBatch:
    batches = prepared.inputs.read(piece.file, piece.first_row, piece.rows)
    (batch,) = pa.Table.from_batches(list(batches)).combine_chunks().to_batches()
    return batch


def _costs(rows: pa.RecordBatch, predictor: Predictor, columns: Columns, options: ScoringOptions) -> IntArray:
    """Tokens that the model reads for each row, and one for all that is done besides."""
    longest = predictor.encoder.max_length
    return np.array([1 + row.cost(longest) for row in ready_rows(rows, predictor, columns, options)], np.int64)


def _tokens_per_second(
    samples: Sequence[pa.RecordBatch], predictor: Predictor, columns: Columns, options: ScoringOptions
) -> float:
    """How many tokens are read in a second, measured on a few rows of each place; the first few only make it warm."""
    _score(samples[0].slice(0, SCORED_ROWS), predictor, columns, options)
    began, tokens = time.monotonic(), 0
    for sample in samples:
        rows = sample.slice(0, SCORED_ROWS)
        _score(rows, predictor, columns, options)
        tokens += int(_costs(rows, predictor, columns, options).sum())
        if time.monotonic() - began > SAMPLE_SECONDS:
            break
    return tokens / (time.monotonic() - began)


def _score(rows: pa.RecordBatch, predictor: Predictor, columns: Columns, options: ScoringOptions) -> None:
    for _ in score_batches(iter([rows]), predictor, columns, options):
        pass
