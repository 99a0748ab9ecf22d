"""Memory that was freed, given back to the system, so that a large model's export stays below three times its size."""

import ctypes
import gc
import sys

from maskedge_export.signals import deferred_signals

__all__ = ["release_memory", "limit_heap"]

LARGE = 8 * 2**20
"""Bytes of a block that is large: less than a BERT-base's feed-forward weights in fp32."""

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""glibc's numbers for what mallopt sets; see mallopt(3)."""


def release_memory() -> None:
    """Free what refers to itself in circles, and return freed memory to the system.

    glibc keeps what was freed below its last allocation: of a BERT-base's closed session 350 MB.
    """
    with deferred_signals():
        gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


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
