"""What the command line's tests share: the tiny bundle, and `mlm` in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskedge import Predictor

BUNDLE = Path(__file__).parents[2] / "tiny_bundle"

RunMlm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.load(BUNDLE, precision="fp32")


@pytest.fixture(scope="session")
def words() -> list[str]:
    """Words that are one token of the tiny model wherever they stand."""
    vocabulary = json.loads((BUNDLE / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(name for name in vocabulary if name.isascii() and name.isalpha() and name.islower() and len(name) > 2)


@pytest.fixture(scope="session")
def mlm_command() -> list[str]:
    """What a shell would run for `mlm`; a warning would be an error."""
    return [sys.executable, "-W", "error", "-m", "maskedge"]


@pytest.fixture(scope="session")
def run_mlm(mlm_command: list[str]) -> RunMlm:
    """Runs `mlm COMMAND ...` with the tiny bundle unless another is named; `stdin` may be bytes that are no text."""

    def run(*arguments: object, stdin: str | bytes = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        model = [] if "--model" in arguments or "--help" in arguments else ["--model", str(BUNDLE)]
        ran = subprocess.run(
            [*mlm_command, *map(str, arguments), *model],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            env={**os.environ, "COLUMNS": "100", **environment},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    return run


@pytest.fixture(scope="session")
def parse() -> Callable[[str], list[dict[str, Any]]]:
    """The objects of JSON lines, as strict a reader as any."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    return lambda text: [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
