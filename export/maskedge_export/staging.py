"""A directory that appears complete or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskedge_export.errors import ExportError
from maskedge_export.signals import deferred_signals

__all__ = ["staging"]


@contextmanager
def staging(out: Path, overwrite: bool) -> Iterator[Path]:
    """A directory beside `out` that takes its place if all goes well, and goes away if not. Of a link, its target is
    replaced, and the link stays.

    Raises ExportError where nothing can be written there, or where `out` has come into being meanwhile and is not to
    be overwritten.
    """
    out = out.resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error}; choose another --out") from error
    replaced = partial.with_suffix(".replaced")
    try:
        partial.chmod(0o755)
        yield partial
        if overwrite and out.exists():
            out.rename(replaced)
        _publish(partial, out)
    finally:
        with deferred_signals():
            if replaced.exists() and not out.exists():
                replaced.rename(out)
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


def _publish(partial: Path, out: Path) -> None:
    try:
        partial.rename(out)
    except OSError as error:  # a directory is never renamed to one that holds something
        if not out.exists():
            raise
        raise ExportError(f"{out} has been made by another process meanwhile; choose another --out") from error
