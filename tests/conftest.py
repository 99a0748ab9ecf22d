"""What the tests of every room share."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"touch '{self.sprung}'",)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """The file that a trap leaves."""
    return tmp_path / "sprung"


@pytest.fixture
def trap(sprung: Path) -> bytes:
    """A pickle that runs code of its own."""
    return pickle.dumps(Trap(sprung))
