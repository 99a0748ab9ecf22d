"""Memory that was freed, given back to the system."""

import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["give_back_memory"]


def give_back_memory() -> None:
    """Let go of what refers to itself in circles, and return freed memory.

    glibc keeps what was freed below its last allocation: of a BERT-base's closed session 350 MB.
    """
    with _signals_held():
        gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


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
