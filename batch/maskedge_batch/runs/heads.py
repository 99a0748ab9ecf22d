"""What each head does, from beginning to end: read, measure, report, publish."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

from maskedge import Predictor
from maskedge.bundle.engine import EngineChoice
from maskedge_batch.heads.analysis import HeadsAnalysis, analyse_heads
from maskedge_batch.heads.corpus import Corpus, corpus_files, open_corpus
from maskedge_batch.heads.rendering import heads_html
from maskedge_batch.heads.report import DEFINITIONS, HeadsReport, accuracy_table, heads_json, role_table
from maskedge_batch.inputs.arguments import input_name, named_inputs
from maskedge_batch.reports.run import ModelRun
from maskedge_batch.runs.facts import Clock, model_facts
from maskedge_batch.runs.model import choose_model
from maskedge_batch.runs.places import local_place, refuse_existing, refuse_input
from maskedge_batch.runs.progress import OnProgress
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Location, Place, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["HeadsJob", "HeadsOutcome", "report_on_heads"]

FILES = ("heads.html", "heads.json", "heads.parquet", "relations.parquet")


@dataclass(frozen=True, slots=True)
class HeadsJob:
    """Which sentences to read and where to put the results."""

    input: Place | Sequence[Place]
    """As of `Job`: files, directories of them and globs, or `-` for standard input; and CoNLL-U, `.conllu`."""
    output: Place
    """The directory of the results, on this machine; made where there is none."""
    model: str | Path | None = None
    """As of `Job`: a bundle's directory, or its id on the Hugging Face Hub; None: the bundled English model."""
    revision: str | None = None
    """A branch, tag or commit of a model on the Hub."""
    precision: str | None = None
    """One of the bundle's graphs; None: the first that this CPU computes rightly."""
    text_column: str = "text"
    """Where texts stand in JSON and Parquet."""
    limit: int | None = None
    """Most sentences that are read; None: all."""
    overwrite: bool = False
    """Whether results that are there already are replaced."""
    runtime: EngineChoice = "auto"
    """What runs the graph, as of `Job`."""


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
    job: HeadsJob,
    on_progress: OnProgress = lambda done, total: None,
    stop: StopRequest | None = None,
    standard_input: BinaryIO | None = None,
) -> HeadsOutcome:
    """Reads sentences and reports what each attention head does with them. All files appear complete, or none.

    Args:
        job: Which sentences, and where the results go.
        on_progress: Called with how many sentences are done and how many there are.
        stop: Checked between batches, so that the job can be asked to stop.
        standard_input: What `-` stands for.

    Returns:
        The report and the paths of the files.

    Raises:
        InputError: A corpus cannot be read.
        OutputError: The results cannot go where they were asked to go, or some are there that may not be replaced.
        WriteError: The results could not be written to the end.
        StoppedError: The job was stopped.
        BundleError: The bundle cannot be loaded, or has no attention graph.
        EngineError: As `score_file`.
    """
    stop, clock = stop or StopRequest(), Clock()
    arguments = named_inputs(job.input)
    finals = _places(job)
    model = choose_model(job.model, job.revision, job.precision, job.runtime)
    model.check_attention()
    _refuse_inputs(finals, corpus_files(arguments))
    with open_corpus(arguments, job.text_column, stop.check, standard_input) as corpus:
        analysis = _analysed(model.load(), corpus, job.limit, on_progress, stop)
    run = ModelRun(**model_facts(input_name(arguments), model, clock))
    return _published(finals, HeadsReport(run, analysis, DEFINITIONS))


def _places(job: HeadsJob) -> tuple[Path, ...]:
    """Raises OutputError where they may not be written to."""
    finals = tuple(local_place(job.output) / name for name in FILES)
    refuse_existing(map(locate, finals), overwrite=job.overwrite)
    return finals


def _refuse_inputs(finals: Sequence[Path], files: Sequence[Location]) -> None:
    for final in finals:
        refuse_input(locate(final), files)


def _analysed(
    predictor: Predictor, corpus: Corpus, limit: int | None, on_progress: OnProgress, stop: StopRequest
) -> HeadsAnalysis:
    total = sum(1 for _ in islice(corpus.sentences(), limit))
    on_progress(0, total)
    for done in analyse_heads(predictor, islice(corpus.sentences(), limit)):
        if isinstance(done, HeadsAnalysis):
            return done
        on_progress(done, total)
        stop.check()
    raise AssertionError("an analysis ends with its result")


def _published(finals: tuple[Path, ...], report: HeadsReport) -> HeadsOutcome:
    directory = finals[0].parent
    with naming_failed_writes(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with staged(*finals) as (html, json, roles, accuracies), naming_failed_writes(finals[0]):
        html.write_text(heads_html(report), encoding="utf-8")
        json.write_text(heads_json(report), encoding="utf-8")
        pq.write_table(role_table(report.analysis), roles)
        pq.write_table(accuracy_table(report.analysis), accuracies)
    return HeadsOutcome(report, *finals)
