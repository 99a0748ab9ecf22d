"""Files that appear under their names complete, or not at all.

What is written is first a file on a local disk: beside the final one where that is local, among the machine's temporary
files otherwise. A local one is renamed; one that goes to a store is uploaded, and a store shows an upload when it is
complete.
"""

import ctypes
import os
import re
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from maskedge_batch.errors import OutputError
from maskedge_batch.storage.faults import FAILURES, naming_failed_writes, reason
from maskedge_batch.storage.locations import Location, Place, locate

__all__ = ["publish_bytes", "staged", "sweep"]

LEFTOVER = re.compile(r"(?P<stem>.*)[0-9a-f]{8}\.tmp", re.DOTALL)
"""The name of a temporary file."""

UPLOAD_BYTES = 32 << 20
"""How much of an upload waits in memory."""


@contextmanager
def staged(*finals: Place) -> Iterator[tuple[Path, ...]]:
    """Yields an empty local file for each final place.

    When the block ends, the files appear in their final places, in the given order. When it raises, they are removed,
    and what was in the final places stays as it was.

    Raises:
        LocationError: There is no way to a place.
        OutputError: A temporary file cannot be made, or there is no directory or bucket for the final one.
        WriteError: A file cannot be brought to its final place.
    """
    places = [locate(final) for final in finals]
    temporaries = tuple(_directory(place) / f"{_stem(place)}{secrets.token_hex(4)}.tmp" for place in places)
    try:
        for temporary, place in zip(temporaries, places, strict=True):
            _create(temporary, place)
        yield temporaries
        for temporary, place in zip(temporaries, places, strict=True):
            with naming_failed_writes(place):
                _publish(temporary, place)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def publish_bytes(final: Place, content: bytes) -> None:
    """Has a small file appear complete, in place of one that was there. Raises as `staged` does."""
    with staged(final) as (draft,), naming_failed_writes(final):
        draft.write_bytes(content)


def sweep(*finals: Place) -> None:
    """Removes what a killed process left of `staged` for these places; nothing else may be writing to them now."""
    stems: defaultdict[Path, set[str]] = defaultdict(set)
    for final in map(locate, finals):
        stems[_directory(final)].add(_stem(final))
    for directory, mine in stems.items():
        with suppress(OSError):  # no such directory: nothing left
            for path in directory.iterdir():
                leftover = LEFTOVER.fullmatch(path.name)
                if leftover and leftover["stem"] in mine:
                    path.unlink(missing_ok=True)


def _directory(final: Location) -> Path:
    return final.local.parent if final.is_local else Path(tempfile.gettempdir())


def _stem(final: Location) -> str:
    """How the names of a place's temporary files begin: far from their place they name all of it."""
    if final.is_local:
        return f".{final.name}."
    return f".{final.name}.{sha256(final.uri.encode()).hexdigest()[:16]}."


def _create(temporary: Path, final: Location) -> None:
    try:
        _check_place(final)
        temporary.touch(exist_ok=False)
    except FAILURES as error:
        where = final.parent if final.is_local else final
        raise OutputError(f"{where} cannot be written to ({reason(error)}): name another place with -o.") from error


def _check_place(final: Location) -> None:
    if final.info().type not in (fs.FileType.NotFound, fs.FileType.File):
        # A device such as /dev/null must not be replaced by a file either.
        raise OutputError(f"{final} is not a file: name a file with -o.")
    if final.is_local and not final.local.parent.is_dir():
        raise OutputError(f"There is no directory {final.parent} to write {final.name} into: make it first.")
    if isinstance(final.filesystem, fs.S3FileSystem):
        bucket = final.path.partition("/")[0]
        if final.filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise OutputError(f"There is no bucket {bucket} to write {final} into: make it first.")


def _publish(temporary: Path, final: Location) -> None:
    if final.is_local:
        _sync(temporary)
        temporary.replace(final.local)
        _sync(final.local.parent)
    else:
        _upload(temporary, final)


def _sync(path: Path) -> None:
    """Has a file's bytes, or a directory's names, written to the disk, so that a crash of the machine leaves no final
    name without them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _upload(source: Path, final: Location) -> None:
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        stream = final.filesystem.open_output_stream(final.path, compression=None)
        try:
            while part := file.read(UPLOAD_BYTES):
                stream.write(part)
                stream.flush()  # waits, so that no more than this is in memory, and raises where it failed
            if stream.tell() != size:
                raise OSError(f"{stream.tell():,} of {size:,} bytes were read back from {source}")
        except BaseException:
            _abandon(stream)
            raise
        stream.close()
    found = final.info().size
    if found != size:
        raise OSError(f"{found} bytes arrived of {size:,}")


def _abandon(stream: pa.NativeFile) -> None:
    """Has an upload never end. Closing its stream would complete it and publish a short file; so does pyarrow's
    destructor, which has no way to abort either: the stream is kept from it, up to the process's end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))
