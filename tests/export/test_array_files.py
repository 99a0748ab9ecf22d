"""Arrays come back from their files as they were, whichever threads read them."""

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maskedge_export.array_files import load_arrays, save_arrays

ARRAYS: dict[str, npt.NDArray[Any]] = {
    "odd / name": np.array([0.1, np.nan, -np.inf, -0.0]),
    "half": np.eye(3, dtype=np.float16),
    "whole": np.arange(6).reshape(2, 3),
    "every other": np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "single": np.array(True),
    "empty": np.zeros((0, 5), np.float32),
}


def test_arrays_come_back_bit_for_bit_and_outlive_their_file(tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    save_arrays(ARRAYS, file)
    found = load_arrays(file)
    file.unlink()
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns wherever an object is made: in the midst of what CPython itself computes, too."""

    def switch(*_: object) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(switch)


@pytest.mark.usefixtures("switching")
def test_threads_may_read_at_once(tmp_path: Path) -> None:
    """numpy's own files fail here: "AST constructor recursion depth mismatch"."""
    file = tmp_path / "some.safetensors"
    save_arrays({"whole": ARRAYS["whole"]}, file)

    def read(_: int) -> list[list[list[int]]]:
        return [load_arrays(file)["whole"].tolist() for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(4)))
    assert found == [[ARRAYS["whole"].tolist()] * 100] * 4
