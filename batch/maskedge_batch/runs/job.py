"""One file from beginning to end: check, score, write, report, publish."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from maskedge import Predictor
from maskedge.bundle.threads import usable_cpus
from maskedge_batch.errors import InputError, OutputError
from maskedge_batch.inputs.parquet import ParquetInput, open_parquet
from maskedge_batch.inputs.passing_on import check_passed_on, writer_options
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.rendering import as_html, as_json, as_markdown
from maskedge_batch.reports.report import Report, RunFacts
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.batches import MEMORY_BUDGET, score_batches
from maskedge_batch.scoring.columns import Columns, choose_columns, scored_schema, unread_target
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile, Stage
from maskedge_batch.scoring.rows import RowStatus
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.publishing import staged

__all__ = ["Job", "OnProgress", "Outcome", "score_file"]

OnProgress = Callable[[int, int], None]
"""Called with how many rows are done and how many there are."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to score and where to put the results."""

    input: Path
    """A Parquet file."""
    output: Path | None = None
    """The scored file, with the reports beside it; None: NAME.scored.parquet beside the input."""
    model: str | Path | None = None
    """A bundle's directory, or its id on the Hugging Face Hub; None: the bundled English model."""
    text_column: str = "text"
    """The column with the texts."""
    target_column: str | None = None
    """None: the column "target" where there is one that can hold targets."""
    targets: bool = True
    """False: no column holds targets."""
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    """What is to be found out of each row."""
    revision: str | None = None
    """A branch, tag or commit of a model on the Hub."""
    precision: str | None = None
    """One of the bundle's graphs; None: the first that this CPU computes rightly."""
    memory_budget: int = MEMORY_BUDGET
    """Bytes for rows on their way, as `score_batches` says. It changes no result."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job's metrics and files."""

    report: Report
    """The metrics of all rows."""
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


def score_file(
    job: Job,
    on_progress: OnProgress = lambda done, total: None,
    stop: StopRequest | None = None,
    profile: Profile | None = None,
) -> Outcome:
    """Scores a Parquet file into another and reports on it. All four files appear complete, or none of them.

    Args:
        job: What to score and where to put the results.
        on_progress: Called with how many rows are done and how many there are.
        stop: Checked before each run of the model and after each batch of rows, so that the job can be asked to stop.
        profile: Is told what the time was spent on.

    Returns:
        The report and the paths of the files.

    Raises:
        InputError: The input or its columns cannot be used, or `ScoringOptions.top_k` exceeds the vocabulary.
        OutputError: The results cannot go where they were asked to go.
        WriteError: The results could not be written to the end, on a full disk for example.
        StoppedError: The job was stopped.
        BundleError: The model's bundle cannot be loaded.
    """
    profile = profile or Profile()
    stop = stop or StopRequest()

    def progress(done: int, total: int) -> None:
        on_progress(done, total)
        stop.check()  # rows that are set aside are many, and never come to the model

    clock = _Clock()
    with open_parquet(job.input) as source:
        columns = choose_columns(source.schema, job.text_column, job.target_column, targets=job.targets)
        output, *reports = finals = _places(job)
        source.choose_timestamp_units(stop.check)
        notes = check_passed_on(source.parquet.schema, scored_schema(source.schema))
        with staged(*finals) as (scored, *drafts):
            predictor = _load(job, stop)
            clock.start_scoring()
            progress(0, source.num_rows)
            _score_into(scored, output, source, job, predictor, columns, progress, profile)
            report = make_report([scored], run=_run_facts(job, output, clock), check=stop.check)
            pages = (as_html(report), as_markdown(report), as_json(report))
            for draft, final, page in zip(drafts, reports, pages, strict=True):
                with naming_failed_writes(final):
                    draft.write_text(page, encoding="utf-8")
            stop.check()
    return Outcome(report, *finals, notes=(*notes, *_target_notes(source, columns, report)))


def _target_notes(source: ParquetInput, columns: Columns, report: Report) -> Iterator[str]:
    """What became of a column of targets that nobody asked for."""
    masked = report.masked
    if unread := unread_target(source.schema, columns):
        yield unread
    elif columns.asked or columns.target is None:
        return
    elif report.rows and not masked:
        yield f"No text has a mask, so the column {columns.target!r} is not read as targets."
    elif masked and not masked.overall and RowStatus.TARGET_NOT_IN_VOCABULARY in report.set_aside:
        yield f"The column {columns.target!r} holds no target that could be rated: --no-targets leaves it alone."


def _load(job: Job, stop: StopRequest) -> Predictor:
    try:
        predictor = Predictor.load(
            job.model, revision=job.revision, precision=job.precision, before_batch=lambda tokens: stop.check()
        )
    except ValueError as error:
        raise InputError(f"{error}: name the model with --model, or leave --revision out.") from error
    try:
        predictor.fill_encoded([], top_k=job.scoring.top_k or 0)  # no texts: only the limit of top_k is checked
    except ValueError as error:
        raise InputError(f"{error}: choose another with --predictions.") from error
    return predictor


class _Clock:
    def __init__(self) -> None:
        self.began = datetime.now(UTC)
        self._start = self._scoring = time.monotonic()

    def start_scoring(self) -> None:
        self._scoring = time.monotonic()

    def wall_and_scoring_seconds(self) -> tuple[float, float]:
        now = time.monotonic()
        return now - self._start, now - self._scoring


def _places(job: Job) -> tuple[Path, Path, Path, Path]:
    """The output and its reports. Raises OutputError where the output would take the place of the input."""
    name = job.input.stem if job.input.suffix.lower() == ".parquet" else job.input.name
    output = job.output or job.input.with_name(f"{name}.scored.parquet")
    if output.exists() and output.samefile(job.input):
        raise OutputError(f"{output} is the input itself: name another file with -o.")
    html, markdown, json_ = (output.with_name(f"{name}.report.{suffix}") for suffix in ("html", "md", "json"))
    return output, html, markdown, json_


def _score_into(
    path: Path,
    final: Path,
    source: ParquetInput,
    job: Job,
    predictor: Predictor,
    columns: Columns,
    on_progress: OnProgress,
    profile: Profile,
) -> None:
    done = 0
    schema = scored_schema(source.schema, _provenance(job, columns, predictor))
    scored = score_batches(
        source.batches(), predictor, columns, job.scoring, memory_budget=job.memory_budget, profile=profile
    )
    with ScoredWriter(path, final, schema, **writer_options(source.parquet.schema)) as writer:
        for batch in scored:
            with profile.measure(Stage.WRITE):
                writer.write(batch)
            done += batch.num_rows
            on_progress(done, source.num_rows)


def _provenance(job: Job, columns: Columns, predictor: Predictor) -> bytes:
    """What the scores came from, for the output's metadata. No times or paths: the same job gives the same bytes."""
    facts = {
        "model": predictor.name,
        "precision": predictor.precision,
        "fingerprint": predictor.fingerprint,
        "maskedge": version("maskedge"),
        "options": {"text_column": columns.text, "target_column": columns.target, **asdict(job.scoring)},
    }
    return json.dumps(facts, sort_keys=True).encode()


def _run_facts(job: Job, output: Path, clock: _Clock) -> RunFacts:
    wall, scoring = clock.wall_and_scoring_seconds()
    packages = ("maskedge", "onnxruntime", "tokenizers", "numpy", "pyarrow")
    return RunFacts(
        input=job.input.name,
        output=output.name,
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        started=clock.began.isoformat(timespec="seconds"),
        wall_seconds=wall,
        scoring_seconds=scoring,
        machine=f"{usable_cpus()} CPUs, {platform.machine()}, {platform.system()}",
    )
