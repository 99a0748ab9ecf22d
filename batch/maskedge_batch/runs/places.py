"""Where a job's results go, and where it keeps what it has until it has ended."""

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maskedge_batch.errors import OutputError
from maskedge_batch.runs.workspace import Workspace
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Location, Place, locate
from maskedge_batch.storage.publishing import sweep

__all__ = ["Places", "choose_places", "exists_already", "local_place", "refuse_existing", "refuse_input", "stem"]

COMPLETE = "_SUCCESS"
"""Lies in a directory of parts when it is complete, as Spark and others have it."""
REPORTS = ("html", "md", "json")

FORMATS = re.compile(r"\.(parquet|(jsonl|txt)(\.gz)?)$", re.IGNORECASE)

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Places:
    """Of one job."""

    output: Location
    """The scored file, or the directory of parts."""
    html: Location
    markdown: Location
    json: Location
    is_directory: bool

    @property
    def reports(self) -> tuple[Location, Location, Location]:
        """As page, Markdown and JSON."""
        return self.html, self.markdown, self.json

    @property
    def complete(self) -> Location:
        """What is there once the results are: the scored file itself, or a directory's `_SUCCESS`."""
        return self.output / COMPLETE if self.is_directory else self.output

    @property
    def workspace(self) -> Workspace:
        """Beside a file, hidden; within a directory under a name that readers of data sets pass over."""
        if self.is_directory:
            return Workspace(self.output / "_mlm", self.output)
        root = self.output.with_name(f".{self.output.name}.mlm")
        return Workspace(root, root / "parts")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs out while the block runs. Unless a shard was done, nothing stays behind.

        Raises:
            OutputError: The results cannot go there, as far as that can be told before they do, or another run is
                writing them.
            WriteError: There is no room.
        """
        self.check()
        with ExitStack() as stack:
            self._enter(stack)
            sweep(self.complete, *self.reports)
            yield

    def _enter(self, stack: ExitStack) -> None:
        try:
            if self.is_directory and self.output.is_local and not self.output.exists():
                self.output.local.mkdir()
                stack.callback(_remove_if_empty, self.output)
            stack.enter_context(self.workspace.held(self.output))
        except OSError as error:
            home = self.output.parent
            if error.errno in NO_ROOM:
                with naming_failed_writes(self.output):
                    raise
            raise OutputError(
                f"{home} cannot be written to ({error.strerror or error}): name another place with -o."
            ) from error

    def check(self) -> None:
        """Looks whether results can go there, as far as that can be told before they do; writes nothing.

        Raises:
            OutputError: They cannot.
            WriteError: The place cannot be looked at.
        """
        with naming_failed_writes(self.output):
            self._check()

    def _check(self) -> None:
        home = self.output.parent
        if home.is_local and not home.is_directory():
            raise OutputError(f"There is no directory {home} to write {self.output.name} into: make it first.")
        if self.is_directory:
            self._check_directory()
        elif self.output.is_local and self.output.exists() and not self.output.is_file():
            # A device such as /dev/null must not be replaced by a file either.
            raise OutputError(f"{self.output} is not a file: name a file with -o.")

    def _check_directory(self) -> None:
        if not self.output.exists() or self.workspace.root.exists():
            return
        if not self.output.is_directory():
            raise OutputError(f"{self.output} is not a directory: name another place with -o.")
        if others := self.output.files():
            raise OutputError(
                f"{self.output} holds other files, such as {others[0].name}: name a new or an empty directory with -o, "
                "or a file in this one."
            )


def _remove_if_empty(place: Location) -> None:
    with suppress(OSError):
        place.local.rmdir()


def choose_places(inputs: Sequence[Place], files: Sequence[Location], output: Place | None) -> Places:
    """The places for an input. What `output` names decides: a directory of parts if it ends in `/` or is a directory,
    else one file. None: NAME.scored.parquet beside the one file of the input, or NAME.scored/ beside the one directory.

    Args:
        inputs: What was named as the input.
        files: The files that this stands for.
        output: What was named as the output.

    Raises OutputError where it is the input itself, or where a name is missing.
    """
    output = output if output is not None else _beside(inputs, files)
    place = locate(output)
    with naming_failed_writes(place):
        return _chosen(place, str(output), files)


def _chosen(place: Location, written: str, files: Sequence[Location]) -> Places:
    if written.endswith("/") or place.is_directory():
        html, markdown, json = (place / f"_report.{suffix}" for suffix in REPORTS)
        return Places(place, html, markdown, json, is_directory=True)
    refuse_input(place, files)
    name = stem(place)
    html, markdown, json = (place.with_name(f"{name}.report.{suffix}") for suffix in REPORTS)
    return Places(place, html, markdown, json, is_directory=False)


def _beside(inputs: Sequence[Place], files: Sequence[Location]) -> Place:
    if len(inputs) > 1:
        raise OutputError("Several inputs have no place of their own for the results: name one with -o.")
    if inputs[0] == "-":
        raise OutputError("Standard input has no place of its own for the results: name one with -o.")
    named = locate(inputs[0])
    if not named.exists():
        raise OutputError(f"{named} stands for several files: name a place for the results with -o.")
    if not named.is_directory():
        return named.with_name(f"{stem(named)}.scored.parquet")
    return f"{named.with_name(f'{named.name}.scored')}/"


def local_place(output: Place) -> Path:
    """Where a command writes that writes to this machine only. Raises OutputError for a place elsewhere."""
    place = locate(output)
    if not place.is_local:
        raise OutputError(f"{place} is not on this machine, where this command writes: name a local file with -o.")
    return place.local


def refuse_input(place: Location, files: Sequence[Location]) -> None:
    """Raises OutputError where a place for results is a file of the input."""
    if any(place.is_same(file) for file in files):
        raise OutputError(f"{place} is the input itself: name another file with -o.")


def refuse_existing(places: Iterable[Location], *, overwrite: bool) -> None:
    """Raises OutputError where a file is at a place for results, unless it may be replaced."""
    for place in () if overwrite else places:
        with naming_failed_writes(place):
            if place.is_file():
                raise OutputError(exists_already(place))


def exists_already(place: Location) -> str:
    """What is said of results that are there and may not be replaced."""
    return f"{place} exists already: --overwrite replaces it, or name another place with -o."


def stem(place: Location) -> str:
    """The name without what tells its format."""
    return FORMATS.sub("", place.name).removesuffix(".scored")
