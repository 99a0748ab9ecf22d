"""A checkpoint's files as they lie in its directory: read with errors that name the file and what to do about it."""

import json
from pathlib import Path
from typing import Any

from maskedge.bundle.format import is_lfs_pointer
from maskedge_export.errors import CheckpointError

__all__ = ["is_pointer", "read_json", "read_lines", "read_text", "real_file"]


def is_pointer(file: Path) -> bool:
    """Whether a file is what Git LFS puts in its place. Raises CheckpointError where it cannot be opened."""
    try:
        return is_lfs_pointer(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error


def real_file(file: Path) -> Path:
    """The file. Raises CheckpointError where it cannot be opened, or is what Git LFS puts in its place."""
    if is_pointer(file):
        raise CheckpointError(
            f"{file} is a Git LFS pointer, which only names the file that belongs here; fetch it: run "
            f"git lfs pull in {file.parent}"
        )
    return file


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is no such file. Raises CheckpointError."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(read_text(file))
    except ValueError as error:
        raise CheckpointError(f"{file} is no JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a JSON {type(content).__name__} where an object belongs; copy it again")
    return content


def read_text(file: Path) -> str:
    """A text file's content, with line feeds where its lines end. Raises CheckpointError."""
    try:
        return real_file(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file} is no UTF-8 ({error}); copy it again") from error


def read_lines(file: Path) -> list[str]:
    """A text file's lines; what Unicode counts as a line's end besides ends none. Raises CheckpointError."""
    return read_text(file).removesuffix("\n").split("\n")
