"""A cluster of real processes: the same bytes as one process makes, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from watching import own_processes

from maskedge_batch.errors import DamagedError, InputError, StoppedError, WorkerError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.runs.job import Job, model_of, score_file
from maskedge_batch.runs.model import Model
from maskedge_batch.runs.plan import Shard
from maskedge_batch.runs.stopping import StopRequest

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]

WriteInput = Callable[..., Path]
Rows = list[dict[str, Any]]

STORE = {"object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node that only keeps the books, and two with a CPU each: their processes are apart as on three machines."""
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **STORE})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **STORE)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def job(write_input: WriteInput, bundle: Path, sentences: Rows) -> Job:
    """240 rows in 12 shards."""
    return Job(write_input(sentences), model=bundle, shard_rows=20, threads=1)


@pytest.fixture
def on_ray(job: Job, cluster: Any) -> Job:
    return replace(job, engine="ray", output=f"{home(job)}/ray.parquet")


def home(job: Job) -> Path:
    assert isinstance(job.input, Path)
    return job.input.parent


def workers() -> list[int]:
    """The processes of this run that score, or may."""
    return list(own_processes(b"ray::ShardScorer"))


@pytest.mark.parametrize("output", ["out.parquet", "out/"])
def test_a_cluster_makes_the_same_bytes(job: Job, on_ray: Job, output: str) -> None:
    local = score_file(replace(job, output=f"{home(job)}/local-{output}"))
    seen: list[tuple[int, int]] = []
    remote = score_file(
        replace(on_ray, output=f"{home(job)}/ray-{output}"), lambda done, total: seen.append((done, total))
    )
    assert content(remote.output) == content(local.output)
    assert seen == [(done, 240) for done in range(0, 260, 20)]
    assert remote.report.masked == local.report.masked


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    return {file.name.removeprefix("local-").removeprefix("ray-"): file.read_bytes() for file in files}


def test_a_cluster_goes_on_where_one_process_was_stopped(job: Job, on_ray: Job) -> None:
    undisturbed = score_file(job).output.read_bytes()
    stop = StopRequest()
    with pytest.raises(StoppedError):
        score_file(replace(on_ray, engine="local"), lambda done, total: stop.ask() if done >= 100 else None, stop)
    seen: list[int] = []
    assert score_file(on_ray, lambda done, total: seen.append(done)).output.read_bytes() == undisturbed
    assert seen[0] == 80


def test_a_stopped_cluster_leaves_its_shards_to_the_next_run(job: Job, on_ray: Job) -> None:
    stop = StopRequest()
    with pytest.raises(StoppedError):
        score_file(on_ray, lambda done, total: stop.ask() if done >= 100 else None, stop)
    seen: list[int] = []
    outcome = score_file(replace(on_ray, engine="local"), lambda done, total: seen.append(done))
    assert seen[0] >= 100
    assert outcome.output.read_bytes() == score_file(job).output.read_bytes()


class Slow(InputSet):
    """Takes its time to read, so that a test can meet a worker in the midst of a shard."""

    def read(self, *arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        time.sleep(0.4)
        yield from super().read(*arguments, **options)


class Poisoned(InputSet):
    """Kills the process that reads the sixth shard, as one that takes too much memory is killed."""

    def read(self, file: int, first_row: int = 0, *arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        if first_row == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(file, first_row, *arguments, **options)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch, cluster: Any) -> Callable[[type[InputSet]], None]:
    """Has workers read with another class."""
    from ray import cloudpickle

    from maskedge_batch.inputs.selection import select

    def read_with(kind: type[InputSet]) -> None:
        by_value: Any = cloudpickle.register_pickle_by_value
        by_value(sys.modules[kind.__module__])

        def selected(*arguments: Any, **options: Any) -> InputSet:
            chosen = select(*arguments, **options)
            return kind(chosen.files, chosen.schema, chosen.units, chosen.set_aside)

        monkeypatch.setattr("maskedge_batch.runs.job.select", selected)

    return read_with


def test_a_worker_that_is_killed_in_the_midst_of_a_shard_costs_only_time(
    job: Job, on_ray: Job, reading: Callable[[type[InputSet]], None]
) -> None:
    undisturbed = score_file(job).output.read_bytes()
    reading(Slow)
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if done == 60:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    assert score_file(on_ray, kill_one).output.read_bytes() == undisturbed
    assert killed
    assert {path.name for path in home(job).iterdir() if path.name.startswith(".")} == set()


def test_a_node_that_is_lost_costs_only_time(
    job: Job, on_ray: Job, cluster: Any, reading: Callable[[type[InputSet]], None]
) -> None:
    undisturbed = score_file(job).output.read_bytes()
    reading(Slow)
    node = cluster.add_node(num_cpus=1, **STORE)
    lost: list[Thread] = []

    def lose_it(done: int, total: int) -> None:
        if done == 60:
            lost.append(Thread(target=cluster.remove_node, args=(node, False)))
            lost[0].start()

    assert score_file(on_ray, lose_it).output.read_bytes() == undisturbed
    lost[0].join()


def test_a_shard_that_kills_its_workers_is_named_and_the_others_are_done(
    job: Job, on_ray: Job, reading: Callable[[type[InputSet]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(Poisoned)
    with pytest.raises(WorkerError, match=r"Shard 5 \(rows 100 to 119 of the input, from .*\) lost its worker 3 times"):
        score_file(on_ray)
    monkeypatch.undo()
    seen: list[int] = []
    outcome = score_file(replace(on_ray, engine="local"), lambda done, total: seen.append(done))
    assert seen[0] >= 100
    assert outcome.output.read_bytes() == score_file(job).output.read_bytes()


def test_a_workers_error_is_that_of_one_process(write_input: WriteInput, bundle: Path, cluster: Any) -> None:
    path = write_input(
        {"text": [f"{i} [MASK]" for i in range(30)]}, row_group_size=10, write_page_checksum=True, use_dictionary=False
    )
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 10] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError) as local:
        score_file(Job(path, model=bundle))
    with pytest.raises(InputError) as remote:
        score_file(Job(path, model=bundle, engine="ray", threads=1))
    assert str(remote.value) == str(local.value)
    left_out = score_file(Job(path, model=bundle, engine="ray", threads=1, on_error="skip"))
    assert (left_out.report.rows, left_out.left_out[0].row_group) == (20, 1)


def test_a_model_that_is_another_elsewhere_is_refused(
    on_ray: Job, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(asked: Job) -> Model:
        return replace(model_of(asked), fingerprint="0" * 64)

    monkeypatch.setattr("maskedge_batch.runs.job.model_of", altered)
    with pytest.raises(WorkerError, match="another bundle than the one that the run began with"):
        score_file(on_ray)


@pytest.mark.parametrize(
    ("cpus", "asked", "expected"),
    [
        ([8, 8], (None, None), (4, 4)),
        ([0, 2], (None, None), (1, 2)),
        ([16], (2, None), (2, 8)),
        ([4, 4], (1, None), (1, 4)),
        ([8, 8], (None, 3), (4, 3)),
        ([8], (5, 2), (5, 2)),
        ([], (None, None), (1, 1)),
    ],
)
def test_cpus_are_divided_between_workers_and_their_threads(
    cpus: list[int], asked: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    from maskedge_batch.runs.ray import sizes

    assert sizes(cpus, *asked) == expected


class StandIn:
    """An actor that is asked, and answers nothing."""

    def __init__(self) -> None:
        self.run = self

    def remote(self, shard: Shard) -> object:
        return object()


@pytest.mark.parametrize(("shards", "of_the_first"), [(1, 1), (2, 1), (3, 2), (9, 2)])
def test_a_worker_leaves_a_shard_to_each_that_has_none(shards: int, of_the_first: int) -> None:
    """One that is ready sooner took two of two, and the other had nothing to do."""
    from maskedge_batch.runs.ray import _Pool, _Worker

    first, loading = _Worker(StandIn(), {}, is_ready=True), _Worker(StandIn(), {object(): None})
    pool = object.__new__(_Pool)
    pool._waiting, pool._losses = deque(Shard(number, (), 0) for number in range(shards)), Counter()
    pool._workers = [first, loading]
    pool._hand_out(first)
    assert len(first.shards) == of_the_first
    loading.asked.clear()
    pool._hand_out(loading)
    assert len(loading.shards) == min(shards - of_the_first, 2)


def test_the_command_starts_a_cluster_of_its_own_and_stops_as_it_is_asked(job: Job, bundle: Path) -> None:
    command = [sys.executable, "-m", "maskedge_batch", "score", str(job.input), "--model", str(bundle)]
    command += ["--shard-rows", "20", "--engine", "ray", "--actors", "1", "-o", f"{home(job)}/ray.parquet"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    assert process.stderr.readline() == "0 of 240 rows\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert (home(job) / "ray.parquet").read_bytes() == score_file(job).output.read_bytes()


def test_a_cluster_that_is_not_there_is_one_line(job: Job, bundle: Path) -> None:
    command = [sys.executable, "-m", "maskedge_batch", "score", str(job.input), "--model", str(bundle)]
    command += ["--engine", "ray", "--ray-address", "127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("Error: There is no Ray cluster at 127.0.0.1:1")
    assert "Traceback" not in ended.stderr


def test_without_the_extra_it_says_which_to_install(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "maskedge_batch.runs.ray", raising=False)
    with pytest.raises(WorkerError, match=r"pip install 'maskedge\[ray\]'"):
        score_file(replace(job, engine="ray"))
