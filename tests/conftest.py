"""What the tests of every room share."""

import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from maskedge.bundle import engine_choice
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import EngineName
from maskedge.kernels.library import LIBRARY


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"touch '{self.sprung}'",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest goes first: the last one is run by one process while the others are idle."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture(autouse=True, scope="session")
def _auto_is_not_openvino() -> Iterator[None]:
    """Whatever the CPU: tests of one engine's bits say nothing of the other's. Those of the choice choose their CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_choice, "cpu_features", lambda: replace(cpu_features(), amx_int8=False))
        yield


@pytest.fixture(scope="session")
def openvino() -> None:
    """What needs OpenVINO is skipped without it. It is not imported to see: maskedge keeps it from telling of that."""
    if find_spec("openvino") is None:
        pytest.skip("the extra openvino is not installed")


@pytest.fixture(scope="session")
def kernels() -> None:
    """What needs the kernels is skipped where they were not compiled, or the CPU has not their instructions."""
    if not LIBRARY.is_file():
        pytest.skip("the kernels were not compiled: there is no C compiler for them")
    if not cpu_features().avx512_vnni:
        pytest.skip("this CPU has no AVX512-VNNI")


@pytest.fixture(scope="session")
def amx(kernels: None) -> bool:
    """Whether the kernels multiply with AMX here."""
    return cpu_features().amx_int8


@pytest.fixture(scope="session", params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Each of the engines."""
    name: EngineName = request.param
    if name == "openvino":
        request.getfixturevalue("openvino")
    return name


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """The file that a trap leaves."""
    return tmp_path / "sprung"


@pytest.fixture
def trap(sprung: Path) -> bytes:
    """A pickle that runs code of its own."""
    return pickle.dumps(Trap(sprung))
