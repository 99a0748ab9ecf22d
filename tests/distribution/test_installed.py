"""The wheel in dist, installed into fresh environments: for each Python and each extra, what that is for is done.

`make dist-check` runs this. It takes minutes, and downloads what the extras need.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.installs]

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith("Programming Language ::")]
PYTHONS = [version for version in VERSIONS if "." in version]
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

NOT_OF_USERS = {"all", "dev", "dist", "docs"}
HEAVY = {"ray", "export,datasets"}
"""PyTorch, and a cluster: tried on the Python that runs this only."""
SENTENCE = "He was [MASK] in London in 1902."
COMMANDS = {
    "cli": ["mlm --help", "python -m maskedge --help", f"mlm fill '{SENTENCE}'"],
    "cli,viz": ["mlm explain 'The children were playing in the park.' --word park --image park.svg"],
    "demo": ["mlm demo --help", "python -c 'import maskedge.demo.serving'"],
    "batch": [
        "mlm-batch --help",
        "python -m maskedge_batch --help",
        f"mlm-batch score {ROOT}/examples/masked_sentences.parquet -o scored.parquet",
    ],
    "ray": [f"mlm-batch score {ROOT}/examples/masked_sentences.parquet -o scored.parquet --engine ray"],
    "openvino": [f"""python -c 'from maskedge import Predictor; Predictor.load(engine="openvino")("{SENTENCE}")'"""],
    "export,datasets": [
        "mlm-export --help",
        "python -m maskedge_export --help",
        f"mlm-export train {ROOT}/recipes/one_sentence.toml --out run",
        f"mlm-export bundle run/model --out bundle --calibration {ROOT}/recipes/one_sentence.txt --few-texts",
        "python -c 'import datasets'",
    ],
}
"""What is run where an extra, or several of them, is installed."""
PREDICT = f"""
import maskedge
print(maskedge.__file__)
print(*(answer["token_str"] for answer in maskedge.Predictor.load()({SENTENCE!r})))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A fresh one, in a directory of its own; what runs there sees neither this checkout nor this home."""

    directory: Path

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """A command of the environment, in an empty directory at first."""
        work = self.directory / "work"
        work.mkdir(exist_ok=True)
        variables = {"PATH": os.environ["PATH"], "HOME": str(work)}
        program = str(self.directory / "bin" / command[0])
        return subprocess.run([program, *command[1:]], cwd=work, env=variables, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The one that `make dist` wrote."""
    found = list((ROOT / "dist").glob("*.whl"))
    assert len(found) == 1, "there is not one wheel in dist: make dist"
    return found[0]


@contextmanager
def environment(version: str, wheel: Path, extras: str) -> Iterator[Environment]:
    """Fresh, with the wheel, its extras, and what they need in the versions of constraints.txt."""
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True).returncode:
        pytest.skip(f"python{version} is not on the path")
    with TemporaryDirectory() as directory:
        subprocess.run([python, "-m", "venv", "--without-pip", directory], check=True)
        pip = [sys.executable, "-m", "pip", "--python", f"{directory}/bin/python", "--quiet", "--no-input"]
        asked = ["--no-compile", "-c", str(ROOT / "constraints.txt"), f"maskedge[{extras}] @ {wheel.as_uri()}"]
        installing = subprocess.run([*pip, "install", *asked], capture_output=True, text=True)
        assert installing.returncode == 0, installing.stderr
        yield Environment(Path(directory))


def test_every_extra_for_users_is_tried() -> None:
    tried = {extra for extras in COMMANDS for extra in extras.split(",")}
    assert tried == set(PROJECT["optional-dependencies"]) - NOT_OF_USERS


@pytest.mark.parametrize("version", PYTHONS)
def test_without_extras_the_library_predicts_and_scripts_name_their_extra(version: str, wheel: Path) -> None:
    with environment(version, wheel, "") as fresh:
        predicted = fresh.run(["python", "-c", PREDICT])
        assert predicted.returncode == 0, predicted.stderr
        file, words = predicted.stdout.splitlines()
        assert file.startswith(str(fresh.directory))
        assert "born" in words.split()
        for script, extra in {"mlm": "cli", "mlm-batch": "batch", "mlm-export": "export"}.items():
            refused = fresh.run([script, "--help"])
            assert (refused.returncode, refused.stdout) == (2, "")
            assert refused.stderr.endswith(f"pip install 'maskedge[{extra}]'\n")


@pytest.mark.parametrize("extras", COMMANDS)
@pytest.mark.parametrize("version", PYTHONS)
def test_with_an_extra_what_it_is_for_runs(version: str, extras: str, wheel: Path) -> None:
    if extras in HEAVY and version != THIS_PYTHON:
        pytest.skip(f"[{extras}] is tried on python{THIS_PYTHON} only")
    with environment(version, wheel, extras) as fresh:
        for command in COMMANDS[extras]:
            ran = fresh.run(shlex.split(command))
            assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
