"""What a command's arguments name: files, directories, globs; on this machine or in a store."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pyarrow import fs

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.lines import JSON_ENDINGS
from maskedge_batch.inputs.partitions import Partitions, hive_partitions
from maskedge_batch.storage.faults import naming_failed_reads
from maskedge_batch.storage.locations import Location, Place, locate

__all__ = ["ENDINGS", "PARQUET_ENDINGS", "Found", "expand", "files_of", "first_of", "input_name", "named_inputs"]

PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
ENDINGS = (*PARQUET_ENDINGS, *JSON_ENDINGS)
"""Of the files that are taken from a directory; one whose name has no ending at all, as Hive writes, is one too."""

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that an argument named."""

    location: Location
    partitions: Partitions = ()
    """What the names of the directories between the argument's fixed part and the file say."""


def named_inputs(places: Place | Sequence[Place]) -> list[Place]:
    """What was named as the input, one or several."""
    return [places] if isinstance(places, Location | str | Path) else list(places)


def input_name(arguments: Sequence[Place]) -> str:
    """What the input is called in a report."""
    name = "standard input" if arguments[0] == "-" else locate(arguments[0]).name
    return name if len(arguments) == 1 else f"{name} and {len(arguments) - 1} more"


def files_of(arguments: Sequence[Place]) -> list[Location]:
    """The files that the input stands for; none for standard input. Raises InputError as `expand`."""
    return [] if "-" in arguments else [found.location for found in expand(arguments)]


def first_of(argument: Place) -> Location:
    """The file or the directory that an argument names; of a glob the first file. Raises InputError for none."""
    place = locate(argument)
    with naming_failed_reads(place):
        return place if place.exists() else expand([argument])[0].location


def expand(arguments: Sequence[Place], endings: tuple[str, ...] = ENDINGS) -> list[Found]:
    """The files that arguments stand for, in the order of the arguments and by name within each, none twice.

    A directory stands for the files in it and in those below it that have one of the endings or none, but for names
    that begin with `_` or `.`; a glob for what it matches, `**` for any number of directories.

    Raises InputError for an argument that stands for none.
    """
    if not arguments:
        raise InputError("No input is named: name a file, a directory or a glob.")
    found = [one for argument in arguments for one in _expand(argument, endings)]
    once = {one.location.uri: one for one in reversed(found)}
    return list(reversed(once.values()))


def _expand(argument: Place, endings: tuple[str, ...]) -> Iterator[Found]:
    location = locate(argument)
    with naming_failed_reads(location):
        kind = location.info().type
        if kind == fs.FileType.Directory:
            yield from _within(location, location, endings)
        elif kind == fs.FileType.NotFound and _WILD.search(location.path):
            yield from _glob(location, endings)
        elif kind == fs.FileType.NotFound:
            raise InputError(f"There is no file {location}: check its name.")
        else:
            yield Found(location)


def _within(directory: Location, root: Location, endings: tuple[str, ...]) -> Iterator[Found]:
    """The files in a directory. Directories between `root` and a file may say something of it."""
    files = [file for file in directory.files() if _is_read(file.path.removeprefix(directory.path), endings)]
    if not files:
        raise InputError(f"{directory} holds no files to read: their names end in {', '.join(endings)}.")
    for file in files:
        yield Found(file, hive_partitions(file.path.removeprefix(root.path)))


def _is_read(path: str, endings: tuple[str, ...]) -> bool:
    """Whether a path within a directory is of a file that it stands for: no hidden name, and a known ending or none."""
    *_, name = parts = path.strip("/").split("/")
    return not any(map(_is_hidden, parts)) and (name.lower().endswith(endings) or "." not in name)


def _is_hidden(name: str) -> bool:
    """Such names are of what a writer keeps for itself, as `_SUCCESS` and `.part.crc` are."""
    return name.startswith(("_", "."))


def _glob(pattern: Location, endings: tuple[str, ...]) -> Iterator[Found]:
    root, parts = pattern, list[str]()
    while _WILD.search(root.path):
        root, parts = root.parent, [root.name, *parts]
    matches = list(_walk(root, parts))
    if not matches:
        raise InputError(f"No file matches {pattern}: check the glob.")
    for match in matches:
        if match.is_directory():
            yield from _within(match, root, endings)
        else:
            yield Found(match, hive_partitions(match.path.removeprefix(root.path)))


def _walk(directory: Location, parts: Sequence[str]) -> Iterator[Location]:
    """What the parts of a glob match below a directory, by name."""
    if not parts:
        yield directory
        return
    first, *rest = parts
    if first == "**":
        yield from _walk(directory, rest)
    for entry, kind in directory.entries():
        if first == "**" and kind == fs.FileType.Directory and not _is_hidden(entry.name):
            yield from _walk(entry, parts)
        elif _fits(entry.name, first) and (kind == fs.FileType.Directory or not rest):
            yield from _walk(entry, rest)


def _fits(name: str, pattern: str) -> bool:
    """A hidden name fits only where the pattern begins as it does."""
    return fnmatchcase(name, pattern) and (not _is_hidden(name) or name[0] == pattern[0])
