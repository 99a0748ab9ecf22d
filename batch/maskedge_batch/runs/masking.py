"""A masked evaluation set from beginning to end: read, mask, write, publish."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from maskedge_batch.errors import OutputError
from maskedge_batch.evaluation.masking import Masking, mask_batches, masked_schema
from maskedge_batch.inputs.lines import LineInput
from maskedge_batch.inputs.parquet import ParquetInput
from maskedge_batch.inputs.texts import open_texts, pass_on
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.columns import check_texts
from maskedge_batch.storage.publishing import staged

__all__ = ["MaskJob", "MaskOutcome", "mask_file"]

OnProgress = Callable[[int, int], None]

METADATA = "maskedge_masking"
"""The key under which a masked file says how it was made; scoring it adds its own beside it."""


@dataclass(frozen=True, slots=True)
class MaskJob:
    """What to mask and where to put it."""

    input: Path
    """Parquet; a text a line, `.txt`; or a JSON object a line, `.jsonl`."""
    output: Path
    """The masked file, Parquet."""
    masking: Masking = field(default_factory=Masking)
    """How."""


@dataclass(frozen=True, slots=True)
class MaskOutcome:
    """A finished masked file."""

    output: Path
    """Where it is."""
    texts: int
    """Rows of the input."""
    masked: int
    """Texts of it that words were masked in."""
    rows: int
    """Rows of the output."""
    set_aside: Mapping[str, int]
    """How many texts were not masked, by the reason, most frequent first."""
    notes: tuple[str, ...] = ()
    """What was done with a column that its owner may not expect, a sentence each."""


def mask_file(
    job: MaskJob, on_progress: OnProgress = lambda done, total: None, stop: StopRequest | None = None
) -> MaskOutcome:
    """Makes a masked evaluation set of a file of plain texts. It appears complete or not at all.

    Args:
        job: What to mask and where to put it.
        on_progress: Called with how many texts are done and how many there are.
        stop: Checked after each batch of rows, so that the job can be asked to stop.

    Returns:
        What was masked, and what not.

    Raises:
        InputError: The input or its columns cannot be used.
        OutputError: The file cannot go where it was asked to go.
        WriteError: It could not be written to the end.
        StoppedError: The job was stopped.
    """
    stop = stop or StopRequest()
    counts: Counter[str] = Counter()
    with open_texts(job.input, job.masking.text) as source:
        check_texts(source.schema, {job.masking.text: "--text-column"})
        if job.output.exists() and job.output.samefile(job.input):
            raise OutputError(f"{job.output} is the input itself: name another file with -o.")
        notes, options = pass_on(source, lambda schema: masked_schema(schema, job.masking), stop.check)
        schema = masked_schema(source.schema, job.masking)
        with staged(job.output) as (draft,):
            rows = 0
            with ScoredWriter(draft, job.output, _with_provenance(schema, job.masking), **options) as writer:
                for batch in mask_batches(_watched(source, on_progress, stop), job.masking, counts=counts):
                    writer.write(batch)
                    rows += batch.num_rows
                    stop.check()
    masked = counts.pop("masked", 0)
    return MaskOutcome(job.output, source.num_rows, masked, rows, dict(counts.most_common()), notes)


def _watched(source: ParquetInput | LineInput, on_progress: OnProgress, stop: StopRequest) -> Iterator[pa.RecordBatch]:
    """The source's batches. Progress is told of each when it is done with, and whether to stop is asked."""
    done = 0
    on_progress(done, source.num_rows)
    for batch in source.batches():
        yield batch
        done += batch.num_rows
        on_progress(done, source.num_rows)
        stop.check()


def _with_provenance(schema: pa.Schema, masking: Masking) -> pa.Schema:
    words = masking.choice.words
    facts = {
        "maskedge": version("maskedge"),
        "strategy": masking.strategy,
        "rate": masking.rate if masking.strategy == "rate" else None,
        "seed": masking.seed,
        "min_words": masking.min_words,
        "numbers": masking.choice.numbers,
        "names": masking.choice.names,
        "words": None if words is None else sorted(words),
    }
    said = json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()
    return schema.with_metadata({**(schema.metadata or {}), METADATA: said})
