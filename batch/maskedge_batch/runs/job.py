"""One job from beginning to end: check, plan, score shard by shard, put together, report."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa

from maskedge.bundle.engine import EngineChoice
from maskedge_batch.errors import InputError, WorkerError
from maskedge_batch.inputs.arguments import files_of, input_name, named_inputs
from maskedge_batch.inputs.input_set import InputSet, SetAside
from maskedge_batch.inputs.opening import Spool, open_inputs
from maskedge_batch.inputs.selection import Selection, select
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.report import Report, RunFacts
from maskedge_batch.runs.beginning import begin, finished_run
from maskedge_batch.runs.engines import Engine
from maskedge_batch.runs.facts import Clock, fingerprint, provenance, run_facts
from maskedge_batch.runs.finishing import finish
from maskedge_batch.runs.local import LocalEngine
from maskedge_batch.runs.model import Model, choose_model
from maskedge_batch.runs.places import Places, choose_places
from maskedge_batch.runs.plan import SHARD_ROWS, Plan, RowGroup, cut
from maskedge_batch.runs.progress import OnProgress
from maskedge_batch.runs.receipts import Receipt, Totals
from maskedge_batch.runs.shard import Work
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.batches import MEMORY_BUDGET
from maskedge_batch.scoring.columns import Columns, choose_columns, scored_schema, unread_target
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile
from maskedge_batch.scoring.rows import RowStatus
from maskedge_batch.storage.locations import Place

__all__ = [
    "EngineName",
    "Job",
    "OnError",
    "Outcome",
    "Prepared",
    "make_plan",
    "model_of",
    "prepare",
    "score_file",
]

log = logging.getLogger("maskedge_batch")

OnError = Literal["stop", "skip"]
EngineName = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Job:
    """What to score and where to put the results."""

    input: Place | Sequence[Place]
    """Files, directories of them and globs, on this machine or in a store: Parquet, or with a row a line, `.jsonl` or
    `.txt`. `-` alone is standard input, a JSON object a line."""
    output: Place | None = None
    """The scored file, with the reports beside it; with `/` at its end, or where it is a directory, a directory of
    parts with the reports in it; None: NAME.scored.parquet beside the input, NAME.scored/ for a directory."""
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
    runtime: EngineChoice = "auto"
    """What runs the graph, `kernels`, `onnxruntime` or `openvino`; `auto`: the fastest, as `Predictor.load` says."""
    memory_budget: int = MEMORY_BUDGET
    """Bytes for rows on their way, as `score_batches` says. It changes no result."""
    selection: Selection = field(default_factory=Selection)
    """Which rows and columns of the input are taken."""
    overwrite: bool = False
    """Whether results that are there already are replaced, and an unfinished run of another job is thrown away."""
    resume: bool = False
    """Whether complete results of the same job are taken as they are. An unfinished run of the same job is gone on with
    in any case."""
    on_error: OnError = "stop"
    """Whether damaged files and row groups end the job, or are left out and told."""
    engine: EngineName = "local"
    """What the shards are scored by: this process, or the workers of a Ray cluster."""
    ray_address: str | None = None
    """Of a running cluster; None: one on this machine, for this job."""
    actors: int | None = None
    """Workers of a cluster; None: as many as it has CPUs for."""
    threads: int | None = None
    """Batches that the model reads at once, in each worker; None: as many as there are CPUs, in a worker a few."""
    shard_rows: int = SHARD_ROWS
    """Rows of a part at most; what a stopped run has to do again is less than one part."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job's metrics and files."""

    report: Report
    """The metrics of all rows."""
    places: Places
    """Where the files are, on whatever file system. The following are the paths of local ones."""
    notes: tuple[str, ...] = ()
    """What was done that its owner may not expect, a sentence each."""
    left_out: tuple[SetAside, ...] = ()
    """What is damaged, where that did not end the job."""

    @property
    def output(self) -> Path:
        """The scored file, or the directory of parts."""
        return self.places.output.local

    @property
    def html(self) -> Path:
        """The report as a page."""
        return self.places.html.local

    @property
    def markdown(self) -> Path:
        """The report as Markdown."""
        return self.places.markdown.local

    @property
    def json(self) -> Path:
        """The report as JSON."""
        return self.places.json.local


def score_file(
    job: Job,
    on_progress: OnProgress = lambda done, total: None,
    stop: StopRequest | None = None,
    profile: Profile | None = None,
    standard_input: BinaryIO | None = None,
) -> Outcome:
    """Scores files into one, or into a directory of parts, and reports on it.

    The results appear complete under their names. A run that is stopped, even killed, is gone on with by the same call.

    Args:
        job: What to score and where to put the results.
        on_progress: Called with how many rows are done and how many there are.
        stop: Checked before each run of the model and after each batch of rows, so that the job can be asked to stop.
        profile: Is told what the time was spent on.
        standard_input: What `-` stands for.

    Returns:
        The report and the paths of the files.

    Raises:
        InputError: The input or its columns cannot be used, or `ScoringOptions.top_k` exceeds the vocabulary.
        OutputError: The results cannot go where they were asked to go: what is there may not be replaced, another run
            is writing it, or there is no such place.
        WriteError: The results could not be written to the end, on a full disk for example.
        WorkerError: A cluster's worker failed, or was lost too often.
        StoppedError: The job was stopped.
        BundleError: The model's bundle cannot be loaded.
        EngineError: What is to run the graph is not installed, or does not compute what it should.
    """
    stop, clock = stop or StopRequest(), Clock()
    arguments = named_inputs(job.input)
    places = choose_places(arguments, files_of(arguments), job.output)
    with places.held():
        prepared = prepare(job, Spool(places.workspace.spool, job.text_column, standard_input, stop.check))
        model = model_of(job)
        run = _Run(job, prepared, places, model, _engine(job, model, stop, profile or Profile()), stop, clock)
        report = run.to_the_end(on_progress)
    notes = (*prepared.notes, *_target_notes(prepared, report))
    return Outcome(report, places, notes, prepared.inputs.set_aside)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job's input, looked at as far as it can be before the model is loaded."""

    name: str
    """What the report calls it."""
    inputs: InputSet
    """The chosen rows and columns."""
    schema: pa.Schema
    """Of all its columns."""
    columns: Columns
    notes: tuple[str, ...]


def prepare(job: Job, spool: Spool) -> Prepared:
    """Opens a job's input and chooses what is read of it. Raises InputError."""
    skip = job.on_error == "skip"
    arguments = named_inputs(job.input)
    everything = open_inputs(arguments, spool, skip_damaged=skip)
    columns = choose_columns(everything.schema, job.text_column, job.target_column, targets=job.targets)
    needed = [name for name in (columns.text, columns.target) if name is not None]
    inputs = select(everything, job.selection, needed, spool.on_batch, skip_damaged=skip)
    notes = (*inputs.check_passed_on(), *map(_left_out, inputs.set_aside))
    return Prepared(input_name(arguments), inputs, everything.schema, columns, notes)


def make_plan(job: Job, prepared: Prepared, model: Model) -> Plan:
    """The job's shards, and what tells it from others."""
    inputs, columns = prepared.inputs, prepared.columns
    what = fingerprint(inputs, job.selection, columns, model, job.scoring, shard_rows=job.shard_rows)
    files = [[RowGroup(*group) for group in inputs.row_groups(file, columns.text)] for file in range(len(inputs.files))]
    return Plan(what, cut(files, job.shard_rows))


def _left_out(one: SetAside) -> str:
    return f"{one.reason} {'It is' if one.rows is None else f'Its {one.rows:,} rows are'} left out."


def _engine(job: Job, model: Model, stop: StopRequest, profile: Profile) -> Engine:
    if job.engine == "local":
        if job.actors is not None:
            raise InputError("Only a cluster has workers to count: add --engine ray, or leave --actors out.")
        return LocalEngine(model, job.threads, stop.check, profile)
    try:
        from maskedge_batch.runs.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise WorkerError("The engine ray needs ray, which is not installed: pip install 'maskedge[ray]'") from error
    return RayEngine(model, stop.check, job.ray_address, job.actors, job.threads)


def model_of(job: Job) -> Model:
    """The job's model. Raises InputError where it is asked for more than it has, and BundleError."""
    model = choose_model(job.model, job.revision, job.precision, job.runtime)
    top_k = job.scoring.top_k or 0
    if not 0 <= top_k <= model.vocab_size:
        raise InputError(
            f"top_k is {top_k}; it must be from 0 to {model.vocab_size}, the size of the vocabulary: choose another "
            "with --predictions."
        )
    return model


@dataclass(frozen=True, slots=True)
class _Run:
    """A job that is ready: all that could be checked before the model is loaded has been."""

    job: Job
    prepared: Prepared
    places: Places
    model: Model
    engine: Engine
    stop: StopRequest
    clock: Clock

    def to_the_end(self, on_progress: OnProgress) -> Report:
        """Does what is not done, and finishes."""
        plan = make_plan(self.job, self.prepared, self.model)
        done = begin(self.places, plan, overwrite=self.job.overwrite, resume=self.job.resume)
        if done is None:
            return self._as_it_was()
        work = self._work(plan)
        receipts = [*done, *self._scored(plan, work, done, on_progress)]
        return finish(self.places, plan, work, lambda: self._facts(Totals.of(receipts)), self.stop.check)

    def _work(self, plan: Plan) -> Work:
        inputs, columns = self.prepared.inputs, self.prepared.columns
        return Work(
            job=plan.fingerprint.digest,
            inputs=inputs,
            columns=columns,
            options=self.job.scoring,
            schema=scored_schema(inputs.schema, provenance(columns, self.model, self.job.scoring)),
            writer_options=inputs.writer_options,
            workspace=self.places.workspace,
            memory_budget=self.job.memory_budget,
        )

    def _scored(self, plan: Plan, work: Work, done: list[Receipt], on_progress: OnProgress) -> Iterator[Receipt]:
        """Does the shards that have no receipt."""
        rows = sum(receipt.rows for receipt in done)
        finished = {receipt.shard for receipt in done}

        def progress(more: int) -> None:
            nonlocal rows
            rows += more
            on_progress(rows, plan.rows)
            self.stop.check()  # rows that are set aside are many, and never come to the model

        missing = [shard for shard in plan.shards if shard.number not in finished]
        if missing:
            yield from self.engine.run(missing, work, progress)

    def _facts(self, totals: Totals) -> RunFacts:
        seconds = totals.seconds / self.engine.workers
        facts = run_facts(self.prepared.name, self.places, self.model, self.clock, seconds)
        return replace(facts, left_out=tuple(_left_out(one) for one in self.prepared.inputs.set_aside))

    def _as_it_was(self) -> Report:
        """The report of results that were complete before."""
        log.info(f"{self.places.output} is complete already: nothing was scored.")
        return make_report([self.places.output], run=RunFacts(**finished_run(self.places) or {}), check=self.stop.check)


def _target_notes(prepared: Prepared, report: Report) -> Iterator[str]:
    """What became of a column of targets that nobody asked for."""
    masked, columns = report.masked, prepared.columns
    if unread := unread_target(prepared.schema, columns):
        yield unread
    elif columns.asked or columns.target is None:
        return
    elif report.rows and not masked:
        yield f"No text has a mask, so the column {columns.target!r} is not read as targets."
    elif masked and not masked.overall and RowStatus.TARGET_NOT_IN_VOCABULARY in report.set_aside:
        yield f"The column {columns.target!r} holds no target that could be rated: --no-targets leaves it alone."
