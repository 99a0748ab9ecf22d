"""Memory that was freed, given back to the system, so that a large model's export stays below three times its size."""

import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["give_back_memory", "keep_little_memory"]

LARGE = 8 * 2**20
"""Bytes: less than a BERT-base's feed-forward weights in fp32."""

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""glibc's numbers for what mallopt sets; see mallopt(3)."""


def give_back_memory() -> None:
    """Let go of what refers to itself in circles, and return freed memory.

    glibc keeps what was freed below its last allocation: of a BERT-base's closed session 350 MB.
    """
    with _signals_held():
        gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def keep_little_memory() -> None:
    """Let freed blocks of LARGE and more go back to the system at once, and all threads share one heap, for the rest
    of the process.

    glibc would learn to keep such blocks, and keep some in each thread's heap: of a BERT-base, 200 MB while its weights
    are smoothed and rounded. Giving them back costs PyTorch 1 to 2 % of its time on that model.
    """
    if sys.platform == "linux" and (set_option := getattr(ctypes.CDLL(None), "mallopt", None)):
        set_option(MMAP_THRESHOLD, LARGE)
        set_option(TRIM_THRESHOLD, LARGE)
        set_option(ARENA_MAX, 1)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let Ctrl-C and the like wait: what they raise within a finalizer is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
    for late in arrived:
        signal.raise_signal(late)
