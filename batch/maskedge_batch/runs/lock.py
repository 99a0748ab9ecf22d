"""One run at a time for one place."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from maskedge_batch.errors import OutputError

__all__ = ["held"]

ATTEMPTS = 100
"""How often a lock is taken again whose file another run removed, at its end, between opening and locking it."""


@contextmanager
def held(path: Path, what: object) -> Iterator[None]:
    """Holds a lock file while the block runs. The operating system lets go of it when the process ends, however it
    ends, so that a killed run leaves nothing to clear by hand.

    Args:
        path: The lock file; made where there is none.
        what: What it guards, for the error.

    Raises:
        OutputError: Another run holds it; named by its process, machine and beginning, which the file says.
    """
    with _locked(path, what) as file:
        file.truncate(0)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "began": began}))
        file.flush()
        yield


def _locked(path: Path, what: object) -> IO[str]:
    """The open file, locked."""
    for _ in range(ATTEMPTS):
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # the directory went away just now
            file = path.open("a+", encoding="utf-8")
            _lock(file, what)
            if _still_named(file, path):
                return file
            file.close()
    raise OutputError(f"Other runs begin and end at {what} all the time: name another place with -o.")


def _lock(file: IO[str], what: object) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = _holder(file.read())
        file.close()
        raise OutputError(
            f"Another run is writing {what}: {holder}. Wait for its end, or name another place with -o."
        ) from None


def _still_named(file: IO[str], path: Path) -> bool:
    """Whether who else opens the path opens this file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(said: str) -> str:
    try:
        holder = json.loads(said)
        return f"process {holder['pid']} on {holder['host']}, which began at {holder['began']}"
    except (ValueError, LookupError, TypeError):
        return "a process that has just begun"
