"""Every exception that maskedge raises.

MaskedgeError
├── BundleError              a bundle cannot be used
│   ├── BundleNotFoundError      there is none at the path
│   └── BundleCorruptError       a file is missing, altered or malformed
├── EngineError              what runs graphs is not installed, or does not compute what it should
│   └── UnsupportedGraphError    it is not made for a graph, or for this CPU
├── PageError                a static page cannot be made
└── TextError (ValueError)   a text cannot be scored; `status` says why

And the warnings:

Int8SaturationWarning (RuntimeWarning)   this CPU computes a bundle's int8 graph wrongly
"""

from maskedge.results import TextStatus

__all__ = [
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "EngineError",
    "Int8SaturationWarning",
    "MaskedgeError",
    "PageError",
    "TextError",
    "UnsupportedGraphError",
    "refuse_nan",
]


class MaskedgeError(Exception):
    """The base class of all errors that maskedge raises of its own."""


class BundleError(MaskedgeError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the given path."""


class BundleCorruptError(BundleError):
    """A bundle's file is missing, was altered, or does not say what the format asks for."""


class EngineError(MaskedgeError):
    """An engine cannot run a bundle's graph: it is not installed, cannot read it, or computes something else."""


class UnsupportedGraphError(EngineError):
    """An engine is made for other graphs than this one, or for other CPUs."""


class PageError(MaskedgeError):
    """A page for browsers cannot be made: npm is missing, or did not fetch what the page takes from it."""


class TextError(MaskedgeError, ValueError):
    """A text cannot be scored. `status` gives the reason to programs, and the message gives it to people."""

    def __init__(self, status: TextStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def refuse_nan(place: str, has_nan: bool) -> None:
    """Raises TextError, naming the text's place, where what was found of it is no number."""
    if has_nan:
        reason = "its weights hold some that are none, or its sums overflow; export it again from a sound checkpoint"
        raise TextError(TextStatus.NOT_A_NUMBER, f"{place}: the model's scores are no numbers (NaN): {reason}")


class Int8SaturationWarning(RuntimeWarning):
    """This CPU cuts off sums of 8-bit products at 16 bits, so that a bundle's int8 graph gives wrong scores on it."""
