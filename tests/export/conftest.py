"""What the export room's tests share: tiny checkpoints of every family, made with transformers, and their exports."""

import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers
from tiny_families import MAX_LENGTH, NATIVE, SENTENCES, make_model, save_checkpoint

from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint

EXPORTS = {"fp32_bundle", "int8_bundle", "int8_bundles"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs an export takes seconds."""
    for item in items:
        if EXPORTS & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


MakeModel = Callable[..., transformers.PreTrainedModel]
MakeCheckpoint = Callable[..., Path]
MaskedIds = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(autouse=True, scope="module")
def _no_network() -> Iterator[None]:
    """Whoever opens a connection fails."""

    def connect(_: socket.socket, address: object) -> None:
        raise AssertionError(f"a test connects to {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models so small only lose by being divided."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sentences() -> Path:
    """English sentences, one a line."""
    return SENTENCES


@pytest.fixture(scope="session")
def few_sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough of them to calibrate an int8 graph and to verify it, and no more than that."""
    file = tmp_path_factory.mktemp("texts") / "few.txt"
    file.write_text("\n".join(SENTENCES.read_text(encoding="utf-8").splitlines()[:80]), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def max_length() -> int:
    """Longest text of the tiny models, tokens."""
    return MAX_LENGTH


@pytest.fixture(scope="session", name="make_model")
def _make_model() -> MakeModel:
    """Makes a family's model, with weights large enough for its predictions to differ from place to place."""
    return make_model


@pytest.fixture(scope="session")
def make_checkpoint() -> MakeCheckpoint:
    """Saves a family's model and tokenizer in a directory."""
    return save_checkpoint


@pytest.fixture(scope="session")
def checkpoints(make_checkpoint: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a family, made once."""
    return cache(lambda family: make_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / f"tiny-{family}"))


@pytest.fixture(scope="session", params=NATIVE)
def family(request: pytest.FixtureRequest) -> str:
    """Each of the families with a native encoder in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def checkpoint(family: str, checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints(family)


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(str(checkpoint))


@pytest.fixture(scope="session")
def fp32_bundle(family: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's checkpoint exported without calibration text."""
    out = tmp_path_factory.mktemp("bundles") / family
    export_bundle(str(checkpoint), out, ExportOptions(precision="fp32"))
    return out


@pytest.fixture(scope="session")
def int8_bundles(
    checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A family's bundle with both graphs, made once; random weights need not pass the gate."""

    def export(family: str) -> Path:
        out = tmp_path_factory.mktemp("bundles") / f"{family}-int8"
        export_bundle(str(checkpoints(family)), out, ExportOptions("both", (few_sentences,), gate=False))
        return out

    return cache(export)


@pytest.fixture(scope="session", params=["bert", "modernbert"])
def int8_bundle(request: pytest.FixtureRequest, int8_bundles: Callable[[str], Path]) -> Path:
    """A bundle with both graphs: of a post-norm encoder with biases, and of a pre-norm one without."""
    return int8_bundles(request.param)


@pytest.fixture(scope="session")
def masked_ids() -> MaskedIds:
    """Random texts [batch, length] and their mask positions [batch, masks]."""

    def make(vocab_size: int, *, batch: int = 3, length: int = 12, masks: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(length)
        ids = torch.randint(5, vocab_size, (batch, length), generator=generator)
        positions = torch.stack([torch.randperm(length, generator=generator)[:masks] for _ in range(batch)])
        return ids, positions

    return make
