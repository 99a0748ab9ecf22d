"""The engine of a cluster: Ray keeps one process a worker, each with the model loaded once, and they take shards.

Ray's own retries are not used: they would run the same shards again behind each other without telling which of them
kills its worker. A worker that is lost is replaced here, its shards are handed out again, and one that was there when
its worker died is tried alone from then on, until it is known to be the one.
"""

import logging
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from maskedge.bundle.threads import usable_cpus
from maskedge_batch.errors import BatchError, InputError, OutputError, WorkerError, WriteError
from maskedge_batch.runs.facts import environment
from maskedge_batch.runs.model import Model
from maskedge_batch.runs.plan import Shard
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.runs.shard import OnRows, Work, run_shard

__all__ = ["RayEngine"]

log = logging.getLogger("maskedge_batch")

ATTEMPTS = 3
"""How often a shard may lose its worker."""
IN_FLIGHT = 2
"""Shards that a worker has at a time: the one that it scores, and the next, so that it does not wait for the driver."""
WORKER_THREADS = 4
"""Threads of a worker, where nobody says. More share the memory of one model; fewer leave no CPU idle at a shard's
end."""
POLL_SECONDS = 0.2
CONNECT_SECONDS = 10.0
STORE_BYTES = 256 << 20
"""Ray's shared memory on this machine: it holds what all shards have in common, and no rows."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of ours as a value: unlike the exception it comes through to the driver as it is."""

    kind: type[BatchError]
    said: str


class ShardScorer:
    """A worker's process."""

    def __init__(self, work: Work, model: Model, threads: int) -> None:
        self._work = work
        self._model = model
        self._threads = threads

    def open(self, expected: Mapping[str, str]) -> Refusal | None:
        """Loads the model, if this machine computes and writes the same bytes as the driver's does."""
        own = environment(self._model.runtime)
        differing = [f"{name} is {own[name]}, not {value}" for name, value in expected.items() if own[name] != value]
        if differing:
            return Refusal(WorkerError, f"{socket.gethostname()} is no worker for this run: {'; '.join(differing)}.")
        try:
            self._predictor = self._model.load_elsewhere(self._threads)
        except Exception as error:  # a bundle that is missing there, for instance
            return Refusal(WorkerError, f"{socket.gethostname()} cannot load the model: {error}")
        return None

    def run(self, shard: Shard) -> "Receipt | Refusal":
        """Scores a shard."""
        try:
            return run_shard(shard, self._work, self._predictor)
        except BatchError as error:
            kinds = (InputError, OutputError, WriteError)
            return Refusal(next((kind for kind in kinds if isinstance(error, kind)), WorkerError), str(error))


@dataclass(slots=True)
class RayEngine:
    """Scores with the workers of a Ray cluster."""

    model: Model
    check: Callable[[], None] = lambda: None
    """Called several times a second; to stop, it raises."""
    address: str | None = None
    """Of a running cluster; None: the one that this process is connected to, or a new one on this machine."""
    actors: int | None = None
    """Workers; None: as many as there are CPUs for."""
    threads: int | None = None
    """Of each worker; None: what the CPUs give for so many workers, or a few."""
    workers: int = field(default=1, init=False)
    """As `Engine.workers`, once it runs."""

    def run(self, shards: Sequence[Shard], work: Work, on_rows: OnRows) -> Iterator[Receipt]:
        """As `Engine.run`."""
        with _cluster(self.address):
            actors, threads = sizes(_cpus_of_nodes(), self.actors, self.threads)
            self.workers = min(actors, len(shards))
            pool = _Pool(shards, work, self.model, self.workers, threads)
            try:
                on_rows(0)
                while not pool.is_done:
                    self.check()
                    for receipt in pool.step():
                        on_rows(receipt.rows)
                        yield receipt
            finally:
                pool.end()


def sizes(cpus: Sequence[int], actors: int | None, threads: int | None) -> tuple[int, int]:
    """How many workers, and how many threads each.

    Args:
        cpus: Those of each node.
        actors: Workers that were asked for.
        threads: Threads that were asked for.
    """
    largest, total = max(cpus, default=1), sum(cpus)
    if threads is None:
        threads = WORKER_THREADS if actors is None else total // actors
        threads = max(1, min(threads, largest))
    if actors is None:
        actors = max(1, sum(each // threads for each in cpus))
    return actors, threads


def _cpus_of_nodes() -> list[int]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Connected to a cluster while the block runs; one that this process is connected to already stays so."""
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    own: dict[str, Any] = {"num_cpus": usable_cpus(), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with _signals_kept():
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else own),
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise _no_cluster(address or "this machine", error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Whether somebody listens there. Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> WorkerError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return WorkerError(f"There is no Ray cluster at {address}: {said}")


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself where it connects; it stays what it was."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclass(eq=False, slots=True)
class _Worker:
    """An actor, and what it was asked and has not answered: shards, or whether it is ready."""

    actor: Any
    asked: dict[Any, Shard | None]
    is_ready: bool = False

    @property
    def shards(self) -> list[Shard]:
        return [shard for shard in self.asked.values() if shard is not None]


class _Pool:
    """Workers, and the shards that are still to be scored."""

    def __init__(self, shards: Sequence[Shard], work: Work, model: Model, actors: int, threads: int) -> None:
        self._waiting = deque(shards)
        self._losses: Counter[int] = Counter()
        """Of workers, by the number of the shard that they had."""
        self._losses_while_loading = 0
        self._work = work
        self._stored = ray.put(work)
        self._arguments = (model, threads)
        self._actor: Any = ray.remote(num_cpus=threads, max_restarts=0, max_task_retries=0)(ShardScorer)
        self._expected = environment(model.runtime)
        self._workers: list[_Worker] = []
        for _ in range(actors):
            self._hire()

    @property
    def is_done(self) -> bool:
        """Whether all shards are scored."""
        return not self._waiting and not any(worker.shards for worker in self._workers)

    def step(self) -> list[Receipt]:
        """Hands shards out and waits a moment; the receipts of those that were done."""
        for worker in self._workers:
            if worker.is_ready:
                self._hand_out(worker)
        asked = [answer for worker in self._workers for answer in worker.asked]
        answered, _ = ray.wait(asked, num_returns=1, timeout=POLL_SECONDS)
        receipts = (self._take(answer) for answer in answered)
        return [receipt for receipt in receipts if receipt is not None]

    def end(self) -> None:
        """Ends the workers, whatever they are doing."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()

    def _hire(self) -> None:
        actor = self._actor.remote(self._stored, *self._arguments)
        self._workers.append(_Worker(actor, {actor.open.remote(self._expected): None}))

    def _hand_out(self, worker: _Worker) -> None:
        """Asks a worker for as many shards as it may have: a suspect has it for itself."""
        while self._may_have_one(worker) and not any(self._losses[shard.number] for shard in worker.shards):
            shard = next((one for one in self._waiting if not (self._losses[one.number] and worker.asked)), None)
            if shard is None:
                return
            self._waiting.remove(shard)
            worker.asked[worker.actor.run.remote(shard)] = shard

    def _may_have_one(self, worker: _Worker) -> bool:
        """Whether a worker may be asked for one more: for its next only where one is left for each that has none, be it
        that it still loads the model."""
        idle = sum(not other.shards for other in self._workers)
        return not worker.asked or (len(worker.asked) < IN_FLIGHT and len(self._waiting) > idle)

    def _take(self, answer: Any) -> Receipt | None:
        worker = next(one for one in self._workers if answer in one.asked)
        try:
            said: Receipt | Refusal | None = ray.get(answer)
        except RayTaskError:  # a defect of ours: the worker catches what can go wrong
            raise
        except RayError as error:
            self._replace(worker, error)
            return None
        shard = worker.asked.pop(answer)
        if isinstance(said, Refusal):
            raise said.kind(said.said)
        if shard is None or said is None:
            worker.is_ready = True
            return None
        self._check_shared(shard)
        return said

    def _replace(self, lost: _Worker, error: RayError) -> None:
        """Hands out again what a lost worker had. Raises WorkerError where that was tried too often."""
        ray.kill(lost.actor)  # it may be alive, and only out of reach; what it still does harms nobody
        self._workers.remove(lost)
        self._losses.update(shard.number for shard in lost.shards)
        self._losses_while_loading += not lost.is_ready
        for shard in lost.shards:
            if self._losses[shard.number] >= ATTEMPTS:
                raise WorkerError(self._given_up(shard, error))
        if self._losses_while_loading >= ATTEMPTS:
            raise WorkerError(f"Workers are lost while they load the model, {ATTEMPTS} of them: {_first_line(error)}")
        log.warning(f"A worker was lost ({_first_line(error)}); what it was doing is done again.")
        self._waiting.extendleft(reversed(lost.shards))
        self._hire()

    def _given_up(self, shard: Shard, error: RayError) -> str:
        file = self._work.inputs.files[shard.pieces[0].file].shown if shard.pieces else "the input"
        last = shard.first_row + shard.rows - 1
        return (
            f"Shard {shard.number} (rows {shard.first_row:,} to {last:,} of the input, from {file} on) lost its worker "
            f"{ATTEMPTS} times: {_first_line(error)} Where that is for want of memory, give workers fewer neighbours "
            "with --actors, or cut smaller shards with --shard-rows. What is done stays."
        )

    def _check_shared(self, shard: Shard) -> None:
        part = self._work.workspace.part(shard)
        if part.is_local and not part.is_file():
            raise OutputError(
                f"A worker has written {part}, but it is not here: name a place with -o that all machines of the "
                "cluster share, such as one in a store."
            )


def _first_line(error: RayError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else f"{type(error).__name__}."
