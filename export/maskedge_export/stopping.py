"""Stopping a command by Ctrl-C or SIGTERM: what it is doing takes minutes, so the signal's handler raises."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "signals_held", "stop_on_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)

REMOVAL_SECONDS = 3.0
"""After a signal, in which others are ignored: enough to remove what is unfinished."""


class Stopped(BaseException):
    """A signal asked the command to stop. Not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        self.number = number


def stop_on_signals() -> None:
    """From here on SIGINT and SIGTERM raise Stopped in the main thread.

    An impatient second signal does not cut short the removal of what is unfinished. One that comes later raises again:
    what the first raised is lost where it met a finalizer, or an extension module that was just being imported.
    """
    asked = -float("inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if time.monotonic() - asked > REMOVAL_SECONDS:
            asked = time.monotonic()
            raise Stopped(number)

    for number in SIGNALS:
        signal.signal(number, stop)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let Ctrl-C and the like wait: what they raise within a finalizer is lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.signal(number, lambda number, frame: arrived.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
    for late in arrived:
        signal.raise_signal(late)
