"""What all commands have in common: how they talk, and how they end.

Data goes to standard output, all talk to standard error: through the logger `maskedge_batch`, as lines for people or,
with `--log-format json`, as one JSON object each. A failure is one line, and an exit code:

    0   all went well
    1   failed on the way: a full disk, a damaged bundle, a worker that died too often
    2   called wrongly, or with an input or an output that cannot be used
    3   finished, but some rows were set aside, with --strict
    130, 143   stopped by SIGINT (Ctrl-C), by SIGTERM
"""

import inspect
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import wraps
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.text import Text
from typer.models import OptionInfo

from maskedge import BundleCorruptError, MaskedgeError
from maskedge_batch.errors import StoppedError, WorkerError, WriteError

__all__ = ["ExitCode", "LogFormat", "command", "log", "people", "print_json", "talk", "terminal"]

log = logging.getLogger("maskedge_batch")

STYLES = {logging.ERROR: ("red", "Error: "), logging.WARNING: ("yellow", "Note: ")}


class ExitCode(IntEnum):
    """How a command ended, but for 128 + the number of a signal that stopped it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SET_ASIDE = 3


class LogFormat(StrEnum):
    """How a command talks."""

    TEXT = "text"
    JSON = "json"


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done on the way.")]
Format = Annotated[LogFormat, typer.Option(help="Talk for people, or one JSON object a line on standard error.")]

TALK = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    for name, annotation, default in (
        ("quiet", Quiet, False),
        ("verbose", Verbose, False),
        ("log_format", Format, LogFormat.TEXT),
    )
]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a command: with the options of talking, and its errors as one line and an exit code."""

    @wraps(function)
    def run(*arguments: Any, quiet: bool, verbose: bool, log_format: LogFormat, **options: Any) -> None:
        if quiet and verbose:
            raise typer.BadParameter("--quiet and --verbose exclude each other: give one of them")
        level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
        with talk(level, log_format), _exit_codes():
            function(*arguments, **options)

    parameters = [*inspect.signature(function).parameters.values(), *TALK]
    for option in (info for one in parameters for info in get_args(one.annotation) if isinstance(info, OptionInfo)):
        option.show_envvar = False  # said once, for all of them
    run.__doc__ = "\n\n".join(
        " ".join(paragraph.split()) for paragraph in (inspect.getdoc(function) or "").split("\n\n")
    )
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {name: one.annotation for name, one in inspect.signature(run).parameters.items()}
    return run


def print_json(text: str) -> None:
    """JSON on standard output, coloured where that is a terminal."""
    console = Console()
    console.print_json(text) if console.is_terminal else console.out(text.rstrip("\n"), highlight=False)


@contextmanager
def talk(level: int, log_format: LogFormat) -> Iterator[None]:
    """Sends what is logged to standard error while the block runs."""
    handler = _JsonHandler() if log_format is LogFormat.JSON else _PlainHandler()
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except StoppedError as stopped:
        log.info(str(stopped))
        raise typer.Exit(128 + stopped.number) from None
    except MaskedgeError as error:
        log.error(str(error))
        failed = isinstance(error, (WriteError, WorkerError, BundleCorruptError))
        raise typer.Exit(ExitCode.FAILED if failed else ExitCode.USAGE) from None


def people() -> Console | None:
    """Where people are talked to; None where machines are."""
    return next((handler.console for handler in log.handlers if isinstance(handler, _PlainHandler)), None)


def terminal() -> Console | None:
    """The terminal that a bar may be drawn on, if there is one and people are talked to; lines that are logged
    meanwhile stand above the bar."""
    console = people()
    return console if console and console.is_terminal and log.isEnabledFor(logging.INFO) else None


class _PlainHandler(logging.Handler):
    """A line for people, in the colour of its level where there is a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(stderr=True)

    def emit(self, record: logging.LogRecord) -> None:
        style, label = STYLES.get(record.levelno, ("", ""))
        self.console.print(Text(label + record.getMessage(), style), soft_wrap=True, highlight=False)


class _JsonHandler(logging.Handler):
    """An object for machines: time (ISO 8601, UTC), level, message, and what was given as `extra`."""

    def emit(self, record: logging.LogRecord) -> None:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in STANDARD},
        }
        Console(stderr=True).out(json.dumps(said, ensure_ascii=False, default=str), highlight=False)


STANDARD = {*vars(logging.makeLogRecord({})), "message", "taskName"}
"""What every record has."""
