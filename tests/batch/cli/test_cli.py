"""The command line as a user meets it: real processes, real signals."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

WriteInput = Callable[..., Path]

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
StartCli = Callable[..., "subprocess.Popen[str]"]


def test_a_run_ends_with_a_summary_and_shows_progress_in_plain_lines(
    write_input: WriteInput, run_cli: RunCli, tmp_path: Path, sentences: list[dict[str, Any]]
) -> None:
    path = write_input([*sentences, {"id": 240, "text": None, "target": None}])
    result = run_cli(path)
    assert result.returncode == 0, result.stderr
    assert "240 of 241" in result.stdout
    assert "null_text" in result.stdout
    assert "masked perplexity" in result.stdout
    assert "pseudo-perplexity" in result.stdout
    assert str(tmp_path / "sentences.scored.parquet") in result.stdout
    assert str(tmp_path / "sentences.report.html") in result.stdout
    assert result.stderr.splitlines()[0] == "0 of 241 rows"
    assert result.stderr.splitlines()[-1].startswith("241 of 241 rows, ")
    assert "\x1b" not in result.stdout + result.stderr


def test_an_error_is_one_line_on_stderr(run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli(tmp_path / "none.parquet")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"Error: There is no file {tmp_path}/none.parquet: check its name.\n"


@pytest.mark.parametrize("arguments", [["--top-k", "-1"], ["--nonsense"], []], ids=" ".join)
def test_wrong_usage_exits_2(run_cli: RunCli, tmp_path: Path, arguments: list[str]) -> None:
    result = run_cli(*([tmp_path / "a.parquet", *arguments] if arguments else []))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_without_the_extra_it_says_which_to_install() -> None:
    hidden = "import sys; sys.modules['typer'] = None; from maskedge_batch.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "mlm-batch needs typer, which is not installed: pip install 'maskedge[batch]'\n"


@pytest.fixture
def long_input(write_input: WriteInput, words: list[str]) -> Path:
    """Rows for a minute or more: texts without masks, which the model reads once for each of their tokens."""
    texts = [" ".join(words[(i + j) % len(words)] for j in range(40)) for i in range(100_000)]
    return write_input({"text": texts})


def wait_until_it_scores(process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    assert process.stderr.readline() == "0 of 100,000 rows\n"
    time.sleep(0.5)
    assert process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_it_within_seconds_and_leaves_nothing(
    start_cli: StartCli, long_input: Path, number: signal.Signals
) -> None:
    earlier = long_input.with_name("sentences.scored.parquet")
    earlier.write_bytes(b"earlier")
    process = start_cli(long_input, "--overwrite")
    wait_until_it_scores(process)
    for _ in range(2):  # an impatient second one leaves nothing either
        process.send_signal(number)
    output, errors = process.communicate(timeout=20)  # the job itself takes minutes
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("Stopped")
    assert output == ""
    assert earlier.read_bytes() == b"earlier"
    assert {path.name for path in long_input.parent.iterdir()} == {"sentences.parquet", "sentences.scored.parquet"}


def test_a_killed_run_leaves_no_output_and_can_be_run_again(
    start_cli: StartCli, run_cli: RunCli, write_input: WriteInput, long_input: Path, sentences: list[dict[str, Any]]
) -> None:
    process = start_cli(long_input)
    wait_until_it_scores(process)
    process.kill()
    process.communicate()
    output = long_input.with_name("sentences.scored.parquet")
    assert not output.exists()
    assert not list(long_input.parent.glob("sentences.report.*"))
    assert run_cli(write_input(sentences), "--overwrite").returncode == 0
    assert pq.read_metadata(output).num_rows == len(sentences)
