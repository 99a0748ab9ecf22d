"""Files that appear under their names complete, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskedge_batch.errors import OutputError, WriteError

__all__ = ["naming_failed_writes", "staged"]


@contextmanager
def staged(*finals: Path) -> Iterator[tuple[Path, ...]]:
    """Yields an empty temporary file beside each final path.

    When the block ends, the files take their final names, in the given order. When it raises, they are removed, and
    files that had the final names stay as they were.

    Raises:
        OutputError: A temporary file cannot be made.
        WriteError: A file cannot be given its final name.
    """
    temporaries = tuple(final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp") for final in finals)
    try:
        for temporary, final in zip(temporaries, finals, strict=True):
            _create(temporary, final)
        yield temporaries
        for temporary, final in zip(temporaries, finals, strict=True):
            with naming_failed_writes(final):
                _sync(temporary)
                temporary.replace(final)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming_failed_writes(final: Path) -> Iterator[None]:
    """Turns a failed write into a WriteError that names the file, the reason and the room left."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"{final} could not be written: {reason} ({shutil.disk_usage(final.parent).free:,} bytes are free in "
            f"{final.parent}). Make room or name another place with -o."
        ) from error


def _create(temporary: Path, final: Path) -> None:
    if final.exists() and not final.is_file():
        # A device such as /dev/null must not be replaced by a file either.
        raise OutputError(f"{final} is not a file: name a file with -o.")
    if not final.parent.is_dir():
        raise OutputError(f"There is no directory {final.parent} to write {final.name} into: make it first.")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OutputError(
            f"{final.parent} cannot be written to ({error.strerror or error}): name another place with -o."
        ) from error


def _sync(path: Path) -> None:
    """Has a file's bytes written to the disk, so that a crash of the machine leaves no final name without them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
