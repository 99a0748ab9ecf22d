"""The example application, in the environment that it asks for: the base dependencies only."""

import subprocess
import sys
from pathlib import Path

from maskedge import Predictor

EXAMPLE = Path(__file__).parents[2] / "examples" / "embed.py"


def run_example(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, check=False)


def test_the_improbable_words_are_named(bundle: Path) -> None:
    text = "the water flows from the sea."
    (score,) = Predictor.load(bundle).score([text], method="whole_word")
    limit = sorted(-word.logprob for word in score.words)[-3] + 1e-6
    ran = run_example(text, "--nats", str(limit), "--model", str(bundle))
    assert (ran.returncode, ran.stderr) == (0, "")
    expected = [word.word for word in score.words if word.logprob < -limit]
    assert [line.split("'")[1] for line in ran.stdout.splitlines()] == expected
    assert len(expected) == 2


def test_what_cannot_be_scored_is_told(bundle: Path) -> None:
    ran = run_example("a [MASK]", "--model", str(bundle))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "holds a mask" in ran.stderr
    assert "Traceback" not in ran.stderr
