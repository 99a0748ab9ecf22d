"""A file appears under its name complete, or not at all: on a disk, and on a store that fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from s3_store import S3Store, passes

from maskedge_batch.errors import InputError, OutputError, WriteError
from maskedge_batch.storage import filesystems
from maskedge_batch.storage.faults import naming_failed_reads
from maskedge_batch.storage.locations import locate
from maskedge_batch.storage.publishing import publish_bytes, staged, sweep

PART = 10 << 20
"""Bytes of a part of an upload, more or less; a file of several takes several requests."""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads lie before they leave."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def interrupt_after_writing(drafts: tuple[Path, ...]) -> None:
    for draft in drafts:
        draft.write_bytes(b"after")
    raise KeyboardInterrupt


def test_a_block_that_raises_publishes_nothing(tmp_path: Path, s3: S3Store, scratch: Path) -> None:
    s3.put("y", b"before")
    (tmp_path / "x").write_bytes(b"before")
    stop = pytest.raises(KeyboardInterrupt)
    with stop, staged(tmp_path / "x", "s3://corpus/y") as drafts:
        interrupt_after_writing(drafts)
    assert (tmp_path / "x").read_bytes() == s3.get("y") == b"before"
    assert {*tmp_path.iterdir()} == {scratch, tmp_path / "x"}
    assert [*scratch.iterdir()] == []


def test_large_and_empty_files_arrive_whole(s3: S3Store) -> None:
    large = os.urandom(2 * PART) + b"the end"
    publish_bytes("s3://corpus/large", large)
    publish_bytes("s3://corpus/empty", b"")
    assert s3.get("large") == large
    assert s3.get("empty") == b""


@pytest.mark.slow
def test_requests_that_fail_now_and_then_are_made_again(s3: S3Store) -> None:
    content = os.urandom(2 * PART)
    s3.fault = lambda method, path: 503 if len(s3.requests) % 3 == 0 else None
    publish_bytes("s3://corpus/x", content)
    with locate("s3://corpus/x").open() as opened:
        assert opened.read() == content
    assert s3.get("x") == content


@pytest.mark.parametrize("stage", ["partNumber=2", "uploads", "uploadId="])
def test_an_upload_that_fails_is_never_published_short(s3: S3Store, scratch: Path, stage: str) -> None:
    """Whether its second part fails, its beginning, or everything after that."""
    s3.put("x", b"before")
    s3.fault = lambda method, path: 403 if stage in path else None
    with pytest.raises(WriteError, match=r"s3://corpus/x could not be written: access was denied.*AWS_ACCESS_KEY_ID"):
        publish_bytes("s3://corpus/x", os.urandom(3 * PART))
    s3.fault = passes
    assert s3.get("x") == b"before"
    assert [*scratch.iterdir()] == []


SHRINKING = """
import sys
from pathlib import Path
from maskedge_batch.storage import publishing

publishing.UPLOAD_BYTES = 8 << 20
class Failing:
    def __init__(self, file):
        self.file, self.reads = file, 0
    def read(self, size):
        self.reads += 1
        if self.reads == 3:
            raise OSError("the disk failed")
        return self.file.read(size)
    def fileno(self):
        return self.file.fileno()
    def __enter__(self):
        return self
    def __exit__(self, *arguments):
        self.file.close()

class Source(type(Path())):
    def open(self, *arguments):
        return Failing(super().open(*arguments))

try:
    publishing._upload(Source(sys.argv[1]), publishing.locate("s3://corpus/x"))
except OSError as error:
    print(error)
"""


def test_a_source_that_fails_on_the_way_is_never_published_short(tmp_path: Path, s3: S3Store) -> None:
    """Nor when the process ends, where what was left open is closed."""
    source = tmp_path / "large"
    source.write_bytes(bytes(4 * PART))
    s3.put("x", b"before")
    ran = subprocess.run([sys.executable, "-c", SHRINKING, str(source)], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "the disk failed\n", ran.stderr
    assert any("partNumber=1" in path for _, path in s3.requests)
    assert s3.get("x") == b"before"


def test_a_store_that_keeps_failing_is_named(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put("x", b"there")
    s3.fault = lambda method, path: 403
    with pytest.raises(OutputError, match=r"s3://corpus/x cannot be written to \(access was denied"):
        publish_bytes("s3://corpus/x", b"")
    denied = pytest.raises(InputError, match=r"s3://corpus/x cannot be read: access was denied.*AWS_ACCESS_KEY_ID")
    with denied, naming_failed_reads("s3://corpus/x"):
        locate("s3://corpus/x").read_bytes()


def test_a_missing_bucket_is_named_before_anything_is_written(s3: S3Store) -> None:
    missing = pytest.raises(OutputError, match="no bucket nowhere to write s3://nowhere/x into: make it first")
    with missing, staged("s3://nowhere/x"):
        pytest.fail("there is no such bucket")


def test_a_store_that_cannot_be_reached_is_named(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "S3_ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(OutputError, match=r"s3://corpus/x cannot be written to \(it could not be reached.*ENDPOINT"):
        publish_bytes("s3://corpus/x", b"")


def temporaries(directory: Path) -> list[Path]:
    return list(directory.rglob(".*.tmp"))


KILLED = """
import sys, time
from maskedge_batch.storage.publishing import staged

with staged(*sys.argv[1:]):
    print("staged", flush=True)
    time.sleep(60)
"""


def test_what_a_kill_left_is_swept_and_nothing_else(tmp_path: Path, s3: S3Store, scratch: Path) -> None:
    finals = [str(tmp_path / "x"), "s3://corpus/x"]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, *finals], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"staged\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with staged(tmp_path / "x.y", "s3://corpus/y"):
        assert len(temporaries(tmp_path)) == 4
        sweep(*finals)
        assert sorted(path.name[:3] for path in temporaries(tmp_path)) == [".x.", ".y."]  # of x.y and y
    assert temporaries(tmp_path) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a directory that even root cannot write to")
def test_places_that_cannot_hold_a_file_are_named(tmp_path: Path) -> None:
    for final, said in {
        Path("/proc/x"): "/proc cannot be written to",
        tmp_path / "no" / "x": "no directory .*/no to write x into: make it first",
        tmp_path: "is not a file",
    }.items():
        with pytest.raises(OutputError, match=said), staged(final):
            pytest.fail("it cannot be written")
