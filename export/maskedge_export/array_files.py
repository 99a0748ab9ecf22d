"""Arrays that are kept in files for a while, since the memory would not hold them all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

__all__ = ["load_arrays", "save_arrays"]

# Not numpy's own files: it parses each header as Python, which two threads at once make fail now and then before
# Python 3.13 ("AST constructor recursion depth mismatch").


def save_arrays(arrays: Mapping[str, npt.NDArray[Any]], file: Path) -> None:
    """Keep arrays, by their names, in a safetensors file."""
    # What is no block of memory would be written as if it were one, without an error.
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, file)


def load_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    """What `save_arrays` kept, by their names; they outlive the file. Several threads may load at once."""
    return load_file(file)
