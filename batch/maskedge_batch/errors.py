"""Every exception that maskedge_batch raises of its own.

MaskedgeError
└── BatchError       a batch job stopped
    ├── InputError       the input file or its columns cannot be used
    ├── OutputError      the place of the results cannot be used
    └── WriteError       writing the results failed on the way, for example on a full disk
"""

from maskedge import MaskedgeError

__all__ = ["BatchError", "InputError", "OutputError", "WriteError"]


class BatchError(MaskedgeError):
    """A batch job stopped; nothing was published."""


class InputError(BatchError):
    """The input file or its columns cannot be used."""


class OutputError(BatchError):
    """The results cannot go where they were asked to go."""


class WriteError(BatchError):
    """The results could not be written to the end."""
