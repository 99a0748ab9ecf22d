"""A directory for what is only needed while a process runs. One that was killed leaves its own behind: the next that
begins removes it."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["scratch_directory"]

PREFIX = "maskedge-scratch-"
"""As nobody names a directory of results: what begins so is removed."""
YOUNG_SECONDS = 60.0
"""A directory that has just been made may not be locked yet."""


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """An empty directory among the system's temporary files, which is removed when the block ends."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _opened(Path(name)) as directory:
        with suppress(OSError):  # a file system without locks: there nothing is removed either
            fcntl.flock(directory, fcntl.LOCK_EX)  # until this process ends, however it ends
        yield Path(name)


def _remove_abandoned(parent: Path) -> None:
    """Removes those that no process holds."""
    for path in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is another user's, or is held, or another process removes it
            if time.time() - path.stat().st_mtime > YOUNG_SECONDS:
                with _opened(path) as directory:
                    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """A directory's descriptor."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
