"""A place on any file system: `dir/x.parquet`, `s3://bucket/x.parquet`, `gs://...`, and whatever fsspec knows."""

import os
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from maskedge_batch.storage.filesystems import LOCAL, remote_filesystem

__all__ = ["Location", "Place", "locate"]

URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<authority>[^/]*)/*(?P<rest>.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Location:
    """A file or a directory, whether it is there or not."""

    filesystem: fs.FileSystem = field(compare=False, repr=False)
    path: str
    """Within the file system; absolute."""
    shown: str
    """As its user wrote it: `str(location)`."""

    def __str__(self) -> str:
        return self.shown

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine's own file system, so that `local` may be used."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def local(self) -> Path:
        """The path of a local place, as its user wrote it."""
        assert self.is_local, self.shown
        return Path(self.shown)

    @property
    def uri(self) -> str:
        """What `locate` finds the same place by in another directory or process."""
        return self.path if self.is_local else self.shown

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    @property
    def suffix(self) -> str:
        """What the name ends with, such as `.parquet`; empty where it has no dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "Location":
        """The directory, or the bucket, that it lies in."""
        if self.is_local:
            return Location(self.filesystem, posixpath.dirname(self.path), str(Path(self.shown).parent))
        shown = self.shown.rstrip("/").removesuffix(self.name).rstrip("/")
        return Location(self.filesystem, posixpath.dirname(self.path.rstrip("/")), shown)

    def __truediv__(self, name: str) -> "Location":
        """A place within the directory: `name` may have several parts."""
        shown = str(Path(self.shown) / name) if self.is_local else f"{self.shown.rstrip('/')}/{name}"
        return Location(self.filesystem, posixpath.join(self.path, name), shown)

    def with_name(self, name: str) -> "Location":
        """A place beside it."""
        return self.parent / name

    def is_same(self, other: "Location") -> bool:
        """Whether both are one place: for local files also by links."""
        if self.is_local and other.is_local:
            return self.local.exists() and other.local.exists() and self.local.samefile(other.local)
        return self.filesystem == other.filesystem and self.path == other.path

    # What is there. Each raises OSError where the file system cannot be asked.

    def info(self) -> fs.FileInfo:
        """What the file system says of it."""
        return self.filesystem.get_file_info(self.path)

    def exists(self) -> bool:
        """Whether anything is there."""
        return self.info().type != fs.FileType.NotFound

    def is_file(self) -> bool:
        """Whether a file is there."""
        return self.info().type == fs.FileType.File

    def is_directory(self) -> bool:
        """Whether a directory is there."""
        return self.info().type == fs.FileType.Directory

    def size(self) -> int:
        """The file's bytes. Raises FileNotFoundError."""
        found = self.info()
        if found.size is None:
            raise FileNotFoundError(f"There is no file {self}.")
        return int(found.size)

    def identity(self) -> str:
        """What changes when the file's content does: its bytes, with its store's ETag or the time it was changed."""
        if isinstance(self.filesystem, fs.S3FileSystem):
            with self._found() as opened:  # one request tells both
                told: Any = opened.metadata()  # its stubs say that names are bytes
                size, tag = opened.size(), told.get("ETag")
            if tag:
                return f"{size} bytes, ETag {tag.decode()}"
        found = self.info()
        if found.size is None:
            raise FileNotFoundError(f"There is no file {self}.")
        return f"{found.size} bytes, changed {found.mtime_ns}"

    def _found(self) -> pa.NativeFile:
        try:
            return self.open()
        except FileNotFoundError:
            raise FileNotFoundError(f"There is no file {self}.") from None

    def files(self, *, recursive: bool = True) -> "list[Location]":
        """The files in the directory, by name; of a directory that is not there, none."""
        selector = fs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        root = self.path.rstrip("/") + "/"
        names = sorted(info.path.removeprefix(root) for info in found if info.type == fs.FileType.File)
        return [self / name for name in names]

    def entries(self) -> "list[tuple[Location, fs.FileType]]":
        """What lies in the directory itself, by name, and whether each is a file or a directory."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return [(self / info.base_name, info.type) for info in sorted(found, key=lambda info: info.base_name)]

    # Reading and removing. What is written appears by `publishing`.

    def open(self) -> pa.NativeFile:
        """The file for reading anywhere in it. Raises OSError."""
        return self.filesystem.open_input_file(self.path)

    def stream(self) -> pa.NativeFile:
        """The file for reading from its beginning, byte by byte as it is. Raises OSError."""
        return self.filesystem.open_input_stream(self.path, compression=None)

    def read_bytes(self) -> bytes:
        """All of a small file. Raises OSError."""
        with self.stream() as opened:
            return bytes(opened.read())

    def read_text(self) -> str:
        """All of a small file, in UTF-8. Raises OSError."""
        return self.read_bytes().decode("utf-8")

    def make_directory(self) -> None:
        """Makes the directory and those above it; a store without directories needs none."""
        if not isinstance(self.filesystem, fs.S3FileSystem):
            self.filesystem.create_dir(self.path, recursive=True)

    def remove(self) -> None:
        """Removes the file, or the directory with all in it; what is not there may stay away."""
        found = self.info().type
        if found == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path)
        elif found != fs.FileType.NotFound:
            self.filesystem.delete_file(self.path)


Place: TypeAlias = Location | str | Path
"""What names a place."""


def locate(place: Place) -> Location:
    """The place that a path or a URI names. A URI's path is taken as it stands, without %-escapes, but for `file://`.

    Raises LocationError for a scheme that there is no way to.
    """
    if isinstance(place, Location):
        return place
    found = None if isinstance(place, Path) else URI.fullmatch(place)
    if found and found["scheme"].lower() == "file":
        return locate(Path("/" + unquote(found["rest"])))
    if found:
        filesystem, root = remote_filesystem(found["scheme"].lower(), found["authority"])
        return Location(filesystem, f"{root}/{found['rest']}".rstrip("/"), str(place))
    return Location(LOCAL, str(Path(place).absolute()), os.fspath(place))
