"""What commands say: answers on standard output, everything else on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from maskedge.cli.tables import QUIET
from maskedge.plain_json import plain_json

__all__ = [
    "FAILURE",
    "USAGE_ERROR",
    "complain",
    "directory_errors",
    "fail",
    "message_of",
    "open_console",
    "print_json",
    "say",
    "show_warning",
]

FAILURE, USAGE_ERROR = 1, 2
"""Exit codes."""


def print_json(answer: Any) -> None:
    """An answer as a line of JSON on standard output."""
    fields = answer if isinstance(answer, dict) else asdict(answer)
    sys.stdout.write(plain_json(fields) + "\n")
    sys.stdout.flush()  # whoever reads line by line gets each answer as it comes


def open_console() -> Console:
    """Standard output, for tables."""
    return Console(highlight=False)


def message_of(error: Exception) -> str:
    """What the library says; it numbers texts itself, and is given one at a time here."""
    return str(error).removeprefix("text 0: ")


def fail(error: Exception | str, code: int) -> NoReturn:
    """Says what went wrong and exits."""
    complain(message_of(error) if isinstance(error, Exception) else error)
    raise SystemExit(code)


def complain(message: str) -> None:
    """An error on standard error, on one line."""
    Console(stderr=True).print(f"Error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning on standard error: takes the place of `warnings.showwarning`."""
    Console(stderr=True).print(f"Warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """A remark on standard error."""
    Console(stderr=True).print(message, style=QUIET, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def directory_errors(directory: Path) -> Iterator[None]:
    """What cannot be written is named with its reason; a directory that holds other files is wrong usage."""
    try:
        yield
    except FileExistsError as error:
        fail(str(error), USAGE_ERROR)
    except OSError as error:
        fail(f"cannot write {error.filename or directory}: {error.strerror}", FAILURE)
