"""What each head does, from beginning to end: read, measure, report, publish."""

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from maskedge import Predictor
from maskedge_batch.heads.analysis import HeadsAnalysis, analyse_heads
from maskedge_batch.heads.annotated import AnnotatedSentence, read_conllu
from maskedge_batch.heads.rendering import heads_html
from maskedge_batch.heads.report import DEFINITIONS, HeadsReport, HeadsRun, accuracy_table, heads_json, role_table
from maskedge_batch.inputs.texts import open_texts
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.columns import check_texts, text_bytes
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.publishing import staged

__all__ = ["HeadsJob", "HeadsOutcome", "report_on_heads"]

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HeadsJob:
    """Which sentences to read and where to put the results."""

    corpora: tuple[Path, ...]
    """CoNLL-U (`.conllu`), a text a line (`.txt`), a JSON object a line (`.jsonl`), or Parquet."""
    output: Path
    """The directory of the results; made where there is none."""
    model: Path | None = None
    """A bundle's directory; None: the bundled English model."""
    precision: str | None = None
    """One of the bundle's graphs; None: its first."""
    text_column: str = "text"
    """Where texts stand in JSON and Parquet."""
    limit: int | None = None
    """Most sentences that are read; None: all."""


@dataclass(frozen=True, slots=True)
class HeadsOutcome:
    """What was found, and its files."""

    report: HeadsReport
    """What each head does."""
    html: Path
    """The report as a page."""
    json: Path
    """The report as JSON."""
    roles: Path
    """Parquet with a row for each head."""
    accuracies: Path
    """Parquet with a row for each relation, direction and head; without annotation it has none."""


def report_on_heads(
    job: HeadsJob, on_progress: OnProgress = lambda done, total: None, stop: StopRequest | None = None
) -> HeadsOutcome:
    """Reads sentences and reports what each attention head does with them. All files appear complete, or none.

    Args:
        job: Which sentences, and where the results go.
        on_progress: Called with how many sentences are done and how many there are.
        stop: Checked between batches, so that the job can be asked to stop.

    Returns:
        The report and the paths of the files.

    Raises:
        InputError: A corpus cannot be read.
        OutputError: The results cannot go where they were asked to go.
        WriteError: The results could not be written to the end.
        StoppedError: The job was stopped.
        BundleError: The bundle cannot be loaded, or has no attention graph.
    """
    stop = stop or StopRequest()
    began, start = datetime.now(UTC), time.monotonic()
    predictor = Predictor.load(job.model, precision=job.precision)
    predictor.bundle.attention_graph(predictor.precision)  # found missing before anything is read
    analysis = _analysed(predictor, job, on_progress, stop)
    run = _run_facts(job, predictor, began, time.monotonic() - start)
    return _published(job, HeadsReport(run, analysis, DEFINITIONS))


def _analysed(predictor: Predictor, job: HeadsJob, on_progress: OnProgress, stop: StopRequest) -> HeadsAnalysis:
    total = sum(1 for _ in _sentences(job))
    on_progress(0, total)
    for done in analyse_heads(predictor, _sentences(job)):
        if isinstance(done, HeadsAnalysis):
            return done
        on_progress(done, total)
        stop.check()
    raise AssertionError("an analysis ends with its result")


def _published(job: HeadsJob, report: HeadsReport) -> HeadsOutcome:
    with naming_failed_writes(job.output):
        job.output.mkdir(parents=True, exist_ok=True)
    finals = tuple(job.output / name for name in ("heads.html", "heads.json", "heads.parquet", "relations.parquet"))
    with staged(*finals) as (html, json, roles, accuracies), naming_failed_writes(finals[0]):
        html.write_text(heads_html(report), encoding="utf-8")
        json.write_text(heads_json(report), encoding="utf-8")
        pq.write_table(role_table(report.analysis), roles)
        pq.write_table(accuracy_table(report.analysis), accuracies)
    return HeadsOutcome(report, *finals)


def _sentences(job: HeadsJob) -> Iterator[AnnotatedSentence]:
    sentences = (
        one
        for corpus in job.corpora
        for one in (read_conllu(corpus) if corpus.suffix == ".conllu" else _plain(corpus, job.text_column))
    )
    return islice(sentences, job.limit)


def _plain(corpus: Path, column: str) -> Iterator[AnnotatedSentence]:
    """Texts without annotation; nulls are none."""
    with open_texts([corpus], column) as source:
        check_texts(source.schema, {column: "--text-column"})
        for batch in source.batches():
            texts = text_bytes(batch.column(column))
            yield from (AnnotatedSentence(text.decode(errors="replace")) for text in texts if text is not None)


def _run_facts(job: HeadsJob, predictor: Predictor, began: datetime, seconds: float) -> HeadsRun:
    packages = ("maskedge", "onnxruntime", "tokenizers", "numpy")
    return HeadsRun(
        corpus=", ".join(corpus.name for corpus in job.corpora),
        model=predictor.name,
        precision=predictor.precision,
        fingerprint=predictor.fingerprint,
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        started=began.isoformat(timespec="seconds"),
        wall_seconds=seconds,
    )
