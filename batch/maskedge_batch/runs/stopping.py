"""Stopping a job where nothing is half done: before each call of the model, between batches of rows, and before
the files are published.

A signal's handler may run between any two steps of the interpreter. An exception that it raised there would be lost in
a finalizer or in an extension module that is being imported (pyarrow imports pandas late), and it would leave a lock of
the standard library half taken. So the handler only leaves a note, which the job looks for.
"""

import signal
from types import FrameType
from typing import Self

from maskedge_batch.errors import StoppedError

__all__ = ["StopRequest"]


class StopRequest:
    """Whether a job was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    @classmethod
    def on_signals(cls) -> Self:
        """Asked for by SIGINT (Ctrl-C) and SIGTERM from here on, which end nothing by themselves any more."""
        stop = cls()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop.ask)
        return stop

    def ask(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        """Has the job stop at its next check. Takes no lock, so that it may be a signal's handler. The first signal
        counts."""
        self.number = self.number or number

    def check(self) -> None:
        """Raises StoppedError where the job was asked to stop."""
        if self.number is not None:
            raise StoppedError(self.number)
