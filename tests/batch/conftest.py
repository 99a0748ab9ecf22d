"""What the batch room's tests share: the tiny bundle, words it knows, and the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_store import S3Store

from maskedge import Predictor

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
WriteInput = Callable[..., Path]


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.load(BUNDLE)


@pytest.fixture(scope="session")
def words() -> list[str]:
    """Words that are one token of the tiny model wherever they stand."""
    vocabulary = json.loads((BUNDLE / "tokenizer.json").read_text())["model"]["vocab"]
    names = vocabulary if isinstance(vocabulary, dict) else [name for name, _ in vocabulary]
    return sorted(name for name in names if name.isascii() and name.isalpha() and name.islower() and len(name) > 2)


@pytest.fixture(scope="session")
def sentences(words: list[str]) -> list[dict[str, Any]]:
    """240 rows: three with a mask and its target for each one without a mask."""
    rows = []
    for index in range(240):
        sentence = [words[(index * 7 + place * (3 + index % 5)) % len(words)] for place in range(3 + index % 9)]
        target = sentence[index % len(sentence)]
        if index % 4:
            sentence[index % len(sentence)] = "[MASK]"
        rows.append({"id": index, "text": " ".join(sentence), "target": target if index % 4 else None})
    return rows


@pytest.fixture
def write_input(tmp_path: Path) -> WriteInput:
    """Writes rows, a mapping of columns or a table to NAME.parquet."""

    def write(content: Any, name: str = "sentences", **options: Any) -> Path:
        table = content
        if isinstance(content, list):
            table = pa.Table.from_pylist(content)
        elif isinstance(content, dict):
            table = pa.table(content)
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path, **options)
        return path

    return write


@pytest.fixture
def run_cli(bundle: Path) -> RunCli:
    """Runs `mlm-batch score` in a process of its own, with the tiny bundle."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(cli_command(*arguments), capture_output=True, text=True, timeout=60, check=False)

    return run


def cli_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "maskedge_batch", "score", *map(str, arguments), "--model", os.fspath(BUNDLE)]


@pytest.fixture
def start_cli() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `mlm-batch score`, with the tiny bundle, for a test that disturbs it."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(cli_command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Store]:
    store = S3Store()
    yield store
    store.stop()


@pytest.fixture
def s3(s3_server: S3Store, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An S3 server whose bucket `corpus` is empty, and an environment in which `s3://corpus/...` lies there."""
    s3_server.reset()
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def hub(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """A Hub on which every name is the tiny bundle's: the names and revisions that it is asked for."""
    asked: list[tuple[str, str | None]] = []

    def download(name: str, revision: str | None) -> Path:
        asked.append((name, revision))
        return bundle

    monkeypatch.setattr("maskedge.bundle.hub.download_bundle", download)
    return asked
