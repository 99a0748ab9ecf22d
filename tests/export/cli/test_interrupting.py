"""A command that is stopped says so in one line, exits as a shell expects, and leaves nothing half written."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_checkpoint("distilbert", tmp_path_factory.mktemp("checkpoints") / "tiny", n_layers=1))


@pytest.mark.parametrize(
    ("number", "reached"),
    [
        (signal.SIGTERM, ".out.*"),  # while the graph is traced
        (signal.SIGINT, ".out.*/onnx/fp32.onnx"),  # while it is compared and quantized
    ],
)
def test_a_stopped_export_leaves_nothing(
    tiny: str, few_sentences: Path, tmp_path: Path, number: signal.Signals, reached: str
) -> None:
    command = [sys.executable, "-m", "maskedge_export", "bundle", tiny, "--out", "out", "--calibration"]
    with subprocess.Popen([*command, str(few_sentences)], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(reached)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    *steps, last = stderr.splitlines()
    assert last == "Stopped before the end: nothing is left half written."
    assert all(step.startswith("✓") for step in steps), stderr
    assert not list(tmp_path.iterdir())


LOSES_THE_FIRST = """
import signal, time
from maskedge_export import signals
from maskedge_export.cli import app as cli

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def app():
    Finalized()
    print("lost", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("ignored", flush=True)
    time.sleep(60)
    print("still running", flush=True)

signals.REPEAT_SECONDS = 0.2
cli.app = app
cli.main()
"""


def test_a_stop_that_was_lost_in_a_finalizer_is_asked_for_again() -> None:
    ran = subprocess.run([sys.executable, "-c", LOSES_THE_FIRST], capture_output=True, text=True, check=False)
    assert ran.returncode == 130, ran.stderr
    assert ran.stdout.split() == ["lost", "ignored"]
    assert ran.stderr.splitlines()[-1] == "Stopped before the end: nothing is left half written."


FAILS_ON_THE_WAY = """
import logging, shutil, signal, time
from pathlib import Path
from maskedge_export import signals, staging
from maskedge_export.cli import app as cli

def slow_removal(directory, ignore_errors):
    time.sleep(1)
    removed(directory, ignore_errors=ignore_errors)

def app():
    try:
        with staging.staging(Path("out"), overwrite=False):
            signal.raise_signal(signal.SIGTERM)
    finally:
        logging.getLogger("torch").error("failed while attempting to run meta for aten.addmm.default")
        raise RuntimeError("release unlocked lock")

signals.REPEAT_SECONDS = 0.1
removed, shutil.rmtree = shutil.rmtree, slow_removal
cli.app = app
cli.main()
"""


def test_a_stop_that_meets_a_failure_on_its_way_is_a_stop_and_removes_what_is_unfinished(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAILS_ON_THE_WAY]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 143, ran.stderr
    assert ran.stderr == "Stopped before the end: nothing is left half written.\n"
    assert not list(tmp_path.iterdir())


def test_a_mistyped_checkpoint_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as hub:
        hub.setblocking(False)
        ran = subprocess.run(
            [sys.executable, "-m", "maskedge_export", "bundle", "build/bundel", "--out", "out", "--precision", "fp32"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}"},
        )
        with pytest.raises(BlockingIOError):  # nobody called
            hub.accept()
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1), ran.stderr
    assert "'build/bundel' is neither a directory nor a Hub id" in ran.stderr
