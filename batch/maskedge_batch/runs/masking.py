"""A masked evaluation set from beginning to end: read, mask, write, publish."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from maskedge_batch.evaluation.masking import Masking, mask_batches, masked_schema
from maskedge_batch.inputs.arguments import files_of, named_inputs
from maskedge_batch.inputs.texts import open_texts
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.runs.places import local_place, refuse_existing, refuse_input
from maskedge_batch.runs.progress import OnProgress, watched
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.columns import check_texts
from maskedge_batch.storage.locations import Place, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["MaskJob", "MaskOutcome", "mask_file"]

METADATA = "maskedge_masking"
"""The key under which a masked file says how it was made; scoring it adds its own beside it."""


@dataclass(frozen=True, slots=True)
class MaskJob:
    """What to mask and where to put it."""

    input: Place | Sequence[Place]
    """As of `Job`: files, directories of them and globs, or `-` for standard input."""
    output: Place
    """The masked file, Parquet, on this machine."""
    masking: Masking = field(default_factory=Masking)
    """How."""
    overwrite: bool = False
    """Whether a file that is there already is replaced."""


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
    job: MaskJob,
    on_progress: OnProgress = lambda done, total: None,
    stop: StopRequest | None = None,
    standard_input: BinaryIO | None = None,
) -> MaskOutcome:
    """Makes a masked evaluation set of plain texts. It appears complete or not at all.

    Args:
        job: What to mask and where to put it.
        on_progress: Called with how many texts are done and how many there are.
        stop: Checked after each batch of rows, so that the job can be asked to stop.
        standard_input: What `-` stands for.

    Returns:
        What was masked, and what not.

    Raises:
        InputError: The input or its columns cannot be used.
        OutputError: The file cannot go where it was asked to go, or one is there that may not be replaced.
        WriteError: It could not be written to the end.
        StoppedError: The job was stopped.
    """
    stop = stop or StopRequest()
    counts: Counter[str] = Counter()
    arguments = named_inputs(job.input)
    output = local_place(job.output)
    refuse_input(locate(output), files_of(arguments))
    refuse_existing([locate(output)], overwrite=job.overwrite)
    with open_texts(arguments, job.masking.text, stop.check, standard_input) as source:
        check_texts(source.schema, {job.masking.text: "--text-column"})
        notes = source.check_passed_on()
        schema = _with_provenance(masked_schema(source.schema, job.masking), job.masking)
        batches = watched(source.batches(), source.num_rows, on_progress, stop.check)
        with staged(output) as (draft,):
            rows = 0
            with ScoredWriter(draft, output, schema, **source.writer_options) as writer:
                for batch in mask_batches(batches, job.masking, counts=counts):
                    writer.write(batch)
                    rows += batch.num_rows
                    stop.check()
    masked = counts.pop("masked", 0)
    return MaskOutcome(output, source.num_rows, masked, rows, dict(counts.most_common()), notes)


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
