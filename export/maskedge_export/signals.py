"""Stopping a command by Ctrl-C or SIGTERM: what it is doing takes minutes, so the signal's handler raises."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["RaisingStop", "Stopped", "deferred_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)

REPEAT_SECONDS = 3.0
"""From one raising to the next, for as long as the command goes on."""


class Stopped(BaseException):
    """A signal asked the command to stop. Not an Exception, so that nothing on the way takes it for a failure."""


class RaisingStop:
    """Once made, SIGINT or SIGTERM raises Stopped in the main thread, again and again until the command has ended.

    What is raised first is lost where it meets a finalizer, or an extension module that is just being imported.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came."""
        for number in SIGNALS:
            signal.signal(number, self._ask)
        signal.signal(signal.SIGALRM, self._raise)

    def over(self) -> None:
        """The command has ended: nothing is raised any more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (*SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:  # an impatient second signal changes nothing
            self.number = number
            logging.disable()  # libraries that log what passes through them would call the stop a failure
            signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS, REPEAT_SECONDS)
            raise Stopped

    def _raise(self, number: int, frame: FrameType | None) -> None:
        raise Stopped


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let Ctrl-C and the like wait for the end of the block, whatever its end is.

    What they raise in a finalizer is lost, a removal is not to be cut short, and what a call has made is to be known
    before a stop is raised. In another thread than the main one, where no signal is raised, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    held = (*SIGNALS, signal.SIGALRM)
    handlers = {number: signal.signal(number, lambda number, frame: arrived.append(number)) for number in held}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for late in arrived:
            signal.raise_signal(late)
