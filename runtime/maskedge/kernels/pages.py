"""Memory in pages of 2 MB, where Linux gives them to those who ask.

All weights are read for every batch. In pages of 4 kB those are thousands of addresses to look up, for which a virtual
machine looks twice: a BERT-base's batch took twice as long in them.
"""

import mmap
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["HUGE_PAGE", "SWITCH", "Bytes", "Pages", "are_given", "up_to"]

SWITCH = "MASKEDGE_HUGE_PAGES"
"""An environment variable: with 0 nobody asks for them."""

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HUGE_PAGE = 2 << 20
"""Bytes."""

LINE = 64
"""Bytes of a line of the caches."""

REGION = 16 << 20
"""Bytes that are asked for at once. What is not used of them takes no memory."""

Bytes = npt.NDArray[np.uint8]


def are_given() -> bool:
    """Whether Linux gives huge pages to a process that asks for them, and the environment does not say otherwise."""
    return os.environ.get(SWITCH) != "0" and SETTING.is_file() and "[never]" not in SETTING.read_text(encoding="utf-8")


def up_to(multiple: int, size: int) -> int:
    """The size, or the next multiple."""
    return -(-size // multiple) * multiple


class Pages:
    """Memory for one owner, a piece at a time. It lasts as long as the owner, or a piece of it."""

    def __init__(self) -> None:
        self._regions: list[Bytes] = []
        self._free: Bytes = np.empty(0, np.uint8)

    def take(self, size: int) -> Bytes:
        """So many bytes, all 0, from the start of a line of the caches."""
        whole = up_to(LINE, size)
        if whole > self._free.size:
            self._free = _region(max(REGION, up_to(HUGE_PAGE, whole)))
            self._regions.append(self._free)
        taken, self._free = self._free[:size], self._free[whole:]
        return taken


def _region(size: int) -> Bytes:
    """So many bytes from the start of a huge page."""
    memory = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if are_given():
        memory.madvise(mmap.MADV_HUGEPAGE)
    every = np.frombuffer(memory, np.uint8)
    start = -every.ctypes.data % HUGE_PAGE
    region: Bytes = every[start : start + size]
    return region
