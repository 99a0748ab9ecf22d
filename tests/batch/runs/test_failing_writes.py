"""Writes that fail: the disk is full, the place is read-only, or any one step fails. Nothing appears half written, the
error names the place and the room, and the next run goes on."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maskedge import BundleCorruptError
from maskedge_batch.errors import OutputError, WriteError
from maskedge_batch.runs.job import Job, score_file

WriteInput = Callable[..., Path]

pytestmark = pytest.mark.slow


@pytest.fixture
def source(write_input: WriteInput, words: list[str]) -> Path:
    return write_input({"text": [f"{words[i % len(words)]} [MASK]" for i in range(40)]})


class FailingStep:
    """Has the n-th step of Python's own on files within a directory fail as on a full disk."""

    def __init__(self) -> None:
        self.directory = Path()
        self.left = 0
        sys.addaudithook(self._watch)

    def _watch(self, event: str, given: tuple[Any, ...]) -> None:
        if self.left <= 0 or event not in CHANGES or not self._concerns(event, given):
            return
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _concerns(self, event: str, given: tuple[Any, ...]) -> bool:
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR):
            return False
        return any(isinstance(path, str | os.PathLike) and str(path).startswith(f"{self.directory}/") for path in given)


CHANGES = {"open", "os.rename", "os.mkdir"}

FAILING = FailingStep()
"""An audit hook stays for as long as the process does: one for all tests."""


@pytest.fixture
def failing(source: Path) -> Iterator[FailingStep]:
    FAILING.directory = source.parent
    yield FAILING
    FAILING.left = 0


def scored(directory: Path) -> dict[str, bytes]:
    """The scored rows, and what says that they are complete."""
    paths = [directory / "out.parquet", directory / "out" / "_SUCCESS", *directory.glob("out/part-*.parquet")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths if path.exists()}


@pytest.mark.parametrize("output", ["out.parquet", "out/"])
def test_whichever_step_fails_the_run_goes_on_to_the_same_bytes(
    source: Path, bundle: Path, failing: FailingStep, output: str
) -> None:
    directory = source.parent
    job = Job(source, f"{directory}/{output}", bundle, shard_rows=20, resume=True)
    score_file(job)
    complete = scored(directory)
    remove_all_but(source)
    for step in range(1, 1_000):
        failing.left = step
        said = "No space left on device"
        try:
            score_file(job)
        except (OutputError, WriteError) as error:
            said = str(error)
        assert "No space left on device" in said
        found = scored(directory)
        assert found == {name: complete[name] for name in found}
        if failing.left > 0:
            break
        score_file(job)
        assert scored(directory) == complete
        assert not [path for path in directory.rglob("*") if path.name.endswith((".tmp", ".mlm"))]
        remove_all_but(source)
    assert step > 15


def remove_all_but(source: Path) -> None:
    for path in sorted(source.parent.rglob("*"), reverse=True):
        if path != source:
            path.unlink() if path.is_file() else path.rmdir()


SMALL_DISK = """
set -e
mount -t tmpfs -o size={size} tmpfs {directory}
set +e
{command} -o {directory}/{output} 2> {said}
echo $? > {said}.code
ls -A {directory} > {said}.left
set -e
mount -o remount,size=64m {directory}
{command} -o {directory}/{output}
cp -r {directory}/{output} {said}.result
"""


def on_a_small_disk(tmp_path: Path, source: Path, bundle: Path, size: str, output: str) -> Path:
    """Runs the command on a disk that is too small, and once more when it has grown; returns where all that is told."""
    disk, said = tmp_path / "disk", tmp_path / "said"
    disk.mkdir()
    command = f"{sys.executable} -m maskedge_batch score {source} --model {bundle} --shard-rows 100 --quiet"
    script = SMALL_DISK.format(size=size, directory=disk, command=command, said=said, output=output)
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if not (tmp_path / "said.code").exists():
        pytest.skip(f"no disk of its own can be mounted here: {ran.stderr}")
    assert ran.returncode == 0, ran.stderr
    return said


@pytest.mark.parametrize(
    ("size", "output"),
    [("8k", "out.parquet"), ("100k", "out/"), ("250k", "out.parquet")],
    ids=["at the first part", "at the third part", "when parts are put together"],
)
def test_a_disk_that_is_full(write_input: WriteInput, bundle: Path, tmp_path: Path, size: str, output: str) -> None:
    ballast = [os.urandom(200).hex() for _ in range(400)]  # half of it remains when it is compressed
    source = write_input({"text": ["a [MASK]"] * 400, "ballast": ballast})
    undisturbed = Job(source, f"{tmp_path}/undisturbed/{output}", bundle, shard_rows=100)
    (tmp_path / "undisturbed").mkdir()
    score_file(undisturbed)
    said = on_a_small_disk(tmp_path, source, bundle, size, output)
    message = said.read_text()
    assert (tmp_path / "said.code").read_text() in ("1\n", "2\n"), message
    assert f"{tmp_path}/disk" in message
    assert "No space left on device" in message
    assert "bytes are free" in message
    assert message.count("\n") == 1
    assert "out.parquet" not in (tmp_path / "said.left").read_text().split()
    result = Path(f"{said}.result")
    for path in [result] if result.is_file() else result.glob("part-*.parquet"):
        original = tmp_path / "undisturbed" / (output if result.is_file() else f"out/{path.name}")
        assert path.read_bytes() == original.read_bytes()


READ_ONLY = """
mount --bind {directory} {directory}
mount -o remount,bind,ro {directory}
{command}
"""


@pytest.mark.parametrize("output", ["out.parquet", "out/"])
def test_a_place_that_is_read_only_is_found_before_the_model_is_loaded(
    source: Path, tmp_path: Path, output: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    command = f"{sys.executable} -m maskedge_batch score {source} --model /no/such/bundle -o {place}/{output}"
    script = READ_ONLY.format(directory=place, command=command)
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "/no/such/bundle" in ran.stderr or "mount" in ran.stderr:
        pytest.skip("nothing can be mounted here")
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {place}")
    assert "Read-only file system" in ran.stderr


def test_a_bundle_that_was_altered_is_refused_naming_the_file(source: Path, bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    weights = next(copy.rglob("*.onnx.data"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BundleCorruptError, match=f"{weights.name} was altered"):
        score_file(Job(source, model=copy))
    assert sorted(tmp_path.iterdir()) == before
