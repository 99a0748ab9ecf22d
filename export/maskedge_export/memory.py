"""Memory that was freed, given back to the system, so that a large model's export stays within a few times its size."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskedge_export.signals import deferred_signals

__all__ = ["limit_heap", "release_memory", "settled_objects"]

LARGE = 8 * 2**20
"""Bytes of a block that is large: less than a BERT-base's feed-forward weights in fp32."""

WORTH_RELEASING = 32 * 2**20
"""Bytes that the process has grown by: below, looking for circles among all objects is not worth it."""

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""glibc's numbers for what mallopt sets; see mallopt(3)."""


STATM = Path("/proc/self/statm")
"""Where Linux says how much memory the process holds, in pages; elsewhere it is always given back."""


class _Resident:
    """The least memory that the process was seen to hold since some was last given back; 0 before."""

    bytes = 0


def release_memory(dropped: int = 0) -> None:
    """Free what refers to itself in circles, and return freed memory to the system; do nothing where the process has
    hardly grown since the last time, and little was dropped.

    glibc keeps what was freed below its last allocation: of a BERT-base's closed session 350 MB.

    Args:
        dropped: Bytes that are known to be needed no longer.
    """
    if STATM.exists() and _grown_by() + dropped < WORTH_RELEASING:
        return
    with deferred_signals():
        gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
    if STATM.exists():
        _Resident.bytes = _resident_bytes()


@contextmanager
def settled_objects() -> Iterator[None]:
    """While the block runs, circles are looked for among the objects that it makes alone: among PyTorch's and
    transformers' half a million it took 0.5 s each time, in which no other thread can run Python."""
    release_memory()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _grown_by() -> int:
    resident = _resident_bytes()
    _Resident.bytes = min(_Resident.bytes, resident)
    return resident - _Resident.bytes


def _resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def limit_heap() -> None:
    """Let freed blocks of LARGE and more go back to the system at once, and all threads share one heap, for the rest
    of the process.

    glibc would learn to keep such blocks, and keep some in each thread's heap: of a BERT-base, 200 MB while its weights
    are smoothed and rounded. Giving them back costs PyTorch 1 to 2 % of its time on that model.
    """
    if sys.platform == "linux" and (set_option := getattr(ctypes.CDLL(None), "mallopt", None)):
        set_option(MMAP_THRESHOLD, LARGE)
        set_option(TRIM_THRESHOLD, LARGE)
        set_option(ARENA_MAX, 1)
