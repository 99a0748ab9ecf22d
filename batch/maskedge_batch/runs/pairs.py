"""Minimal pairs from beginning to end: read, score, write, report, publish."""

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge import Predictor
from maskedge_batch.errors import InputError, OutputError
from maskedge_batch.evaluation.pairs import PairScoring, pairs_schema, score_pairs
from maskedge_batch.inputs.arguments import files_of, input_name, named_inputs
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.texts import open_texts
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.reports.pairs import PairsReport, PairsRun, measure_pairs
from maskedge_batch.reports.pairs_rendering import pairs_html, pairs_json, pairs_markdown
from maskedge_batch.runs.places import local_place, refuse_input, stem
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.columns import check_texts
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Place, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["PairsJob", "PairsOutcome", "score_pairs_file"]

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PairsJob:
    """Which pairs to score and where to put the results."""

    input: Place | Sequence[Place]
    """As of `Job`: files, directories of them and globs, or `-` for standard input."""
    output: Place | None = None
    """The scored file on this machine, with the reports beside it; None: NAME.pairs.parquet beside the one file or
    directory of the input."""
    model: Path | None = None
    """A bundle's directory; None: the bundled English model."""
    scoring: PairScoring = field(default_factory=PairScoring)
    """What is compared, and how."""
    by: tuple[str, ...] = ()
    """Columns that divide the pairs into groups."""


@dataclass(frozen=True, slots=True)
class PairsOutcome:
    """Scored pairs: their report and files."""

    report: PairsReport
    """How often the good sentence was preferred."""
    output: Path
    """The scored file."""
    html: Path
    """The report as a page."""
    markdown: Path
    """The report as Markdown."""
    json: Path
    """The report as JSON."""
    notes: tuple[str, ...] = ()
    """What was done with a column that its owner may not expect, a sentence each."""


def score_pairs_file(
    job: PairsJob,
    on_progress: OnProgress = lambda done, total: None,
    stop: StopRequest | None = None,
    standard_input: BinaryIO | None = None,
) -> PairsOutcome:
    """Scores minimal pairs and reports on them. All four files appear complete, or none of them.

    Args:
        job: Which pairs to score and where to put the results.
        on_progress: Called with how many pairs are done and how many there are.
        stop: Checked before each run of the model and after each batch of rows, so that the job can be asked to stop.
        standard_input: What `-` stands for.

    Returns:
        The report and the paths of the files.

    Raises:
        InputError: The input or its columns cannot be used.
        OutputError: The results cannot go where they were asked to go.
        WriteError: The results could not be written to the end.
        StoppedError: The job was stopped.
        BundleError: The model's bundle cannot be loaded.
    """
    stop = stop or StopRequest()
    began, start = datetime.now(UTC), time.monotonic()
    arguments = named_inputs(job.input)
    output, *reports = finals = _places(job.output, arguments)
    with open_texts(arguments, job.scoring.good, stop.check, standard_input) as source:
        _check_columns(source.schema, job)
        notes = source.check_passed_on()
        with staged(*finals) as (scored, *drafts):
            predictor = Predictor.load(job.model, before_batch=lambda tokens: stop.check())
            schema = pairs_schema(source.schema, _provenance(job, predictor))
            with ScoredWriter(scored, output, schema, **source.writer_options) as writer:
                for batch in _counted(score_pairs(source.batches(), predictor, job.scoring), source, on_progress, stop):
                    writer.write(batch)
            run = _run_facts(job, output, predictor, began, time.monotonic() - start)
            report = _measured(scored, run, job)
            pages = (pairs_html(report), pairs_markdown(report), pairs_json(report))
            for draft, final, page in zip(drafts, reports, pages, strict=True):
                with naming_failed_writes(final):
                    draft.write_text(page, encoding="utf-8")
            stop.check()
    return PairsOutcome(report, *finals, notes=notes)


def _check_columns(schema: pa.Schema, job: PairsJob) -> None:
    check_texts(schema, {job.scoring.good: "--good", job.scoring.bad: "--bad"})
    unknown = [column for column in job.by if column not in schema.names]
    if unknown:
        raise InputError(f"The input has no column {unknown[0]!r} to group by: it has {', '.join(schema.names)}.")


def _places(output: Place | None, arguments: Sequence[Place]) -> tuple[Path, Path, Path, Path]:
    """The output and its reports. Raises OutputError where the output would take the place of the input, or where a
    name is missing."""
    files = files_of(arguments)
    scored = _beside(arguments) if output is None else local_place(output)
    refuse_input(locate(scored), files)
    name = scored.name.removesuffix(".parquet").removesuffix(".pairs")
    html, markdown, json_ = (scored.with_name(f"{name}.pairs.{suffix}") for suffix in ("html", "md", "json"))
    return scored, html, markdown, json_


def _beside(arguments: Sequence[Place]) -> Path:
    named = locate(arguments[0])
    if len(arguments) > 1 or not (named.is_local and named.exists()):
        raise OutputError("This input has no place of its own for the results: name one on this machine with -o.")
    return named.local.with_name(f"{stem(named)}.pairs.parquet")


def _counted(
    scored: Iterator[pa.RecordBatch], source: InputSet, on_progress: OnProgress, stop: StopRequest
) -> Iterator[pa.RecordBatch]:
    done = 0
    on_progress(done, source.num_rows)
    for batch in scored:
        yield batch
        done += batch.num_rows
        on_progress(done, source.num_rows)
        stop.check()


def _measured(scored: Path, run: PairsRun, job: PairsJob) -> PairsReport:
    """The report, made from the file alone."""
    columns = [job.scoring.good, job.scoring.bad, *job.by, "mlm_status", "mlm_margin", "mlm_correct"]
    with pq.ParquetFile(scored) as file:
        return measure_pairs(file.iter_batches(columns=list(dict.fromkeys(columns))), run, job.by)


def _provenance(job: PairsJob, predictor: Predictor) -> bytes:
    """What the scores came from, for the output's metadata. No times or paths: the same job gives the same bytes."""
    facts = {
        "model": predictor.name,
        "precision": predictor.precision,
        "fingerprint": predictor.fingerprint,
        "maskedge": version("maskedge"),
        "options": asdict(job.scoring),
    }
    return json.dumps(facts, sort_keys=True).encode()


def _run_facts(job: PairsJob, output: Path, predictor: Predictor, began: datetime, seconds: float) -> PairsRun:
    packages = ("maskedge", "onnxruntime", "tokenizers", "numpy", "pyarrow")
    return PairsRun(
        input=input_name(named_inputs(job.input)),
        output=output.name,
        scoring=job.scoring,
        model=predictor.name,
        precision=predictor.precision,
        fingerprint=predictor.fingerprint,
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        started=began.isoformat(timespec="seconds"),
        wall_seconds=seconds,
    )
