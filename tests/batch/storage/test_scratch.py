"""What is kept beside a run goes with it, or with the next one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskedge_batch.storage.scratch import PREFIX, YOUNG_SECONDS, scratch_directory

HOLDING = """
import sys
from maskedge_batch.storage.scratch import scratch_directory
with scratch_directory() as directory:
    (directory / "kept").write_text("something")
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@contextmanager
def another_process() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """One that holds a directory, which looks as if it had been made long ago."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        os.utime(directory, (0, directory.stat().st_mtime - 2 * YOUNG_SECONDS))
        try:
            yield process, directory
        finally:
            process.kill()


def test_a_directory_goes_with_its_block(temporary_files: Path) -> None:
    with scratch_directory() as directory:
        (directory / "kept").write_text("something")
        assert directory.parent == temporary_files
    assert not directory.exists()


def test_what_a_killed_process_left_is_removed_by_the_next() -> None:
    with another_process() as (process, directory):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (directory / "kept").is_file()
        with scratch_directory():
            assert not directory.exists()


def test_what_another_process_holds_is_left() -> None:
    with another_process() as (_, directory):
        with scratch_directory():
            pass
        assert (directory / "kept").is_file()


def test_what_has_just_been_made_is_left(temporary_files: Path) -> None:
    (young := temporary_files / f"{PREFIX}young").mkdir()
    with scratch_directory():
        assert young.is_dir()
