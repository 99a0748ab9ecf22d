"""Every exception that maskedge_batch raises of its own.

MaskedgeError
└── BatchError       a batch job stopped
    ├── LocationError    there is no way to a place that was named
    ├── InputError       the input file or its columns cannot be used
    │   └── DamagedError     it is there, but is not what it is to be
    ├── OutputError      the place of the results cannot be used
    ├── WriteError       writing the results failed on the way, for example on a full disk
    ├── WorkerError      a cluster's worker failed on the way, or was lost too often
    └── StoppedError     the job was asked to stop, by Ctrl-C for instance
"""

from maskedge import MaskedgeError

__all__ = [
    "BatchError",
    "DamagedError",
    "InputError",
    "LocationError",
    "OutputError",
    "StoppedError",
    "WorkerError",
    "WriteError",
]


class BatchError(MaskedgeError):
    """A batch job stopped."""


class LocationError(BatchError):
    """There is no way to a place that was named, such as one with a scheme that nothing here knows."""


class InputError(BatchError):
    """The input file or its columns cannot be used."""


class DamagedError(InputError):
    """A file is there, but is not what it is to be, or part of it is not."""

    def __init__(self, what: str, advice: str) -> None:
        """`what` is wrong, and what to do about it, each a sentence."""
        super().__init__(f"{what} {advice}")
        self.what = what


class OutputError(BatchError):
    """The results cannot go where they were asked to go."""


class WriteError(BatchError):
    """The results could not be written to the end."""


class WorkerError(BatchError):
    """A worker of a cluster failed, or was lost too often."""


class StoppedError(BatchError):
    """The job was asked to stop before its end."""

    def __init__(self, number: int) -> None:
        """`number` is the signal that asked."""
        super().__init__("Stopped before the end. The same command goes on from there.")
        self.number = number
