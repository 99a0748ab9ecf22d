"""Minimal pairs from beginning to end: read, score, write, report, publish."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge.bundle.engine import EngineChoice
from maskedge_batch.errors import InputError, OutputError
from maskedge_batch.evaluation.pairs import PairScoring, pairs_schema, score_pairs
from maskedge_batch.inputs.arguments import files_of, input_name, named_inputs
from maskedge_batch.inputs.texts import open_texts
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.reports.pairs import PairsReport, PairsRun, measure_pairs
from maskedge_batch.reports.pairs_rendering import pairs_html, pairs_json, pairs_markdown
from maskedge_batch.runs.facts import Clock, model_facts
from maskedge_batch.runs.model import Model, choose_model
from maskedge_batch.runs.places import local_place, refuse_existing, refuse_input, stem
from maskedge_batch.runs.progress import OnProgress, watched
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.columns import check_texts
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Place, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["PairsJob", "PairsOutcome", "score_pairs_file"]


@dataclass(frozen=True, slots=True)
class PairsJob:
    """Which pairs to score and where to put the results."""

    input: Place | Sequence[Place]
    """As of `Job`: files, directories of them and globs, or `-` for standard input."""
    output: Place | None = None
    """The scored file on this machine, with the reports beside it; None: NAME.pairs.parquet beside the one file or
    directory of the input."""
    model: str | Path | None = None
    """As of `Job`: a bundle's directory, or its id on the Hugging Face Hub; None: the bundled English model."""
    scoring: PairScoring = field(default_factory=PairScoring)
    """What is compared, and how."""
    by: tuple[str, ...] = ()
    """Columns that divide the pairs into groups."""
    revision: str | None = None
    """A branch, tag or commit of a model on the Hub."""
    precision: str | None = None
    """One of the bundle's graphs; None: the first that this CPU computes rightly."""
    overwrite: bool = False
    """Whether results that are there already are replaced."""
    runtime: EngineChoice = "auto"
    """What runs the graph, as of `Job`."""


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
        OutputError: The results cannot go where they were asked to go, or some are there that may not be replaced.
        WriteError: The results could not be written to the end.
        StoppedError: The job was stopped.
        BundleError: The model's bundle cannot be loaded.
        EngineError: As `score_file`.
    """
    stop, clock = stop or StopRequest(), Clock()
    arguments = named_inputs(job.input)
    output, *reports = finals = _places(job.output, arguments)
    refuse_existing(map(locate, finals), overwrite=job.overwrite)
    with open_texts(arguments, job.scoring.good, stop.check, standard_input) as source:
        _check_columns(source.schema, job)
        notes = source.check_passed_on()
        with staged(*finals) as (scored, *drafts):
            model = choose_model(job.model, job.revision, job.precision, job.runtime)
            predictor = model.load(before_batch=lambda tokens: stop.check())
            schema = pairs_schema(source.schema, _provenance(job, model))
            pairs = score_pairs(source.batches(), predictor, job.scoring)
            with ScoredWriter(scored, output, schema, **source.writer_options) as writer:
                for batch in watched(pairs, source.num_rows, on_progress, stop.check):
                    writer.write(batch)
            facts = model_facts(input_name(arguments), model, clock)
            report = _measured(scored, PairsRun(**facts, output=output.name, scoring=job.scoring), job)
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


def _measured(scored: Path, run: PairsRun, job: PairsJob) -> PairsReport:
    """The report, made from the file alone."""
    columns = [job.scoring.good, job.scoring.bad, *job.by, "mlm_status", "mlm_margin", "mlm_correct"]
    with pq.ParquetFile(scored) as file:
        return measure_pairs(file.iter_batches(columns=list(dict.fromkeys(columns))), run, job.by)


def _provenance(job: PairsJob, model: Model) -> bytes:
    """What the scores came from, for the output's metadata. No times or paths: the same job gives the same bytes."""
    facts = {
        "model": model.name,
        "precision": model.precision,
        "runtime": model.runtime,
        "fingerprint": model.fingerprint,
        "maskedge": version("maskedge"),
        "options": asdict(job.scoring),
    }
    return json.dumps(facts, sort_keys=True).encode()
