"""A directory that appears complete or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskedge_export.errors import StagingError
from maskedge_export.signals import deferred_signals

__all__ = ["staging"]


@contextmanager
def staging(out: Path, overwrite: bool) -> Iterator[Path]:
    """A directory beside `out` that takes its place if all goes well, and goes away if not. Where `out` is a link, its
    target is replaced, and the link stays.

    Raises StagingError where nothing can be written there, or where `out` has come into being meanwhile and is not to
    be overwritten.
    """
    out = out.resolve()
    partial: Path | None = None
    try:
        with deferred_signals():  # a stop is raised once it is known what there is to remove
            partial = _make_beside(out)
        partial.chmod(0o755)
        yield partial
        if overwrite and out.exists():
            out.rename(_replaced(partial))
        _publish(partial, out)
    finally:
        if partial is not None:
            with deferred_signals():
                _tidy(partial, out)


def _make_beside(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise StagingError(f"{out} cannot be written: {error}; choose another place") from error


def _replaced(partial: Path) -> Path:
    """Where what lay at `out` before waits until the new directory is there."""
    return partial.with_suffix(".replaced")


def _publish(partial: Path, out: Path) -> None:
    try:
        partial.rename(out)
    except OSError as error:  # a directory is never renamed to one that holds something
        if not out.exists():
            raise
        raise StagingError(f"{out} has been made by another process meanwhile; choose another place") from error


def _tidy(partial: Path, out: Path) -> None:
    """Put back what was to be replaced, where nothing took its place, and remove the rest."""
    replaced = _replaced(partial)
    if replaced.exists() and not out.exists():
        replaced.rename(out)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
