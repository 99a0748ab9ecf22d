"""The files of a text's attention: what they are called, where they may lie, and how they are written."""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path

from maskedge.bundle.threads import usable_cpus
from maskedge.cli.attention_page import attention_page
from maskedge.cli.attention_view import AttentionView

__all__ = ["AttentionFile", "Format", "check_directory", "leftovers", "write_attention"]

OWN_NAME = re.compile(r"Attention(_Layer\d+_Head\d+)?\.(png|svg|html)")
NAMED_FILES = 3
"""How many of a directory's other files are named."""


class Format(StrEnum):
    """What is made of a text's attention."""

    PNG = "png"
    """A picture of each head, and a sheet of all."""
    SVG = "svg"
    """The same, to be scaled and searched."""
    HTML = "html"
    """One page to explore it in a browser."""

    @property
    def is_picture(self) -> bool:
        """Whether it takes matplotlib."""
        return self is not Format.HTML


@dataclass(frozen=True, slots=True)
class AttentionFile:
    """A file that was written."""

    path: str
    format: Format
    layer: int | None
    """The number of the layer that it shows, from 1; None for all."""
    head: int | None
    """The number of the head that it shows, from 1; None for all."""


def check_directory(directory: Path) -> None:
    """Raises FileExistsError where a directory holds anything but files of attention, which may be written over."""
    if not directory.exists():
        return
    others = sorted(path.name for path in directory.iterdir() if not OWN_NAME.fullmatch(path.name))
    if others:
        named = ", ".join(others[:NAMED_FILES]) + (", ..." if len(others) > NAMED_FILES else "")
        raise FileExistsError(f"{directory} holds other files ({named}): name a new directory with --out")


def leftovers(directory: Path, written: Collection[AttentionFile]) -> list[str]:
    """The names of files of attention that an earlier run left in a directory."""
    own = {Path(file.path).name for file in written}
    return sorted(path.name for path in directory.iterdir() if path.name not in own)


def write_attention(view: AttentionView, directory: Path, formats: Collection[Format]) -> Iterator[AttentionFile]:
    """Writes a view into a directory, which is made, and gives each file when it is there. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    if Format.HTML in formats:
        path = directory / "Attention.html"
        path.write_text(attention_page(view), encoding="utf-8")
        yield AttentionFile(str(path), Format.HTML, None, None)
    pictures = [kind for kind in Format if kind in formats and kind.is_picture]
    if pictures:
        yield from _write_pictures(view, directory, pictures)


def _write_pictures(view: AttentionView, directory: Path, formats: Collection[Format]) -> Iterator[AttentionFile]:
    """The sheet, where there are several heads, and a picture of each."""
    from maskedge.cli.attention_picture import HeadPictures, draw_sheet, write_png  # what needs matplotlib
    from maskedge.cli.drawing import drawing, save_figure

    with drawing():
        if len(view.layers) * len(view.heads) > 1:
            sheet = draw_sheet(view)
            for kind in formats:
                path = directory / f"Attention.{kind}"
                save_figure(sheet, path, kind, f"Attention of {view.model}", view.text)
                yield AttentionFile(str(path), kind, None, None)
        pictures = HeadPictures(view)
        if Format.PNG in formats:
            yield from _in_parallel(
                (file, partial(write_png, Path(file.path), pictures.pixels(*head), *pictures.words(*head)))
                for head, file in _head_files(view, directory, Format.PNG)
            )
        if Format.SVG in formats:
            for head, file in _head_files(view, directory, Format.SVG):
                save_figure(pictures.figure(*head), Path(file.path), Format.SVG, *pictures.words(*head))
                yield file


def _head_files(view: AttentionView, directory: Path, kind: Format) -> Iterator[tuple[tuple[int, int], AttentionFile]]:
    """The indices of each of a view's heads, with its file."""
    for (row, layer), (column, head) in product(enumerate(view.layers), enumerate(view.heads)):
        path = directory / f"Attention_Layer{layer}_Head{head}.{kind}"
        yield (row, column), AttentionFile(str(path), kind, layer, head)


def _in_parallel(jobs: Iterable[tuple[AttentionFile, Callable[[], None]]]) -> Iterator[AttentionFile]:
    """Runs what writes the files on all CPUs, while the next pictures are drawn; gives the files in order."""
    workers = usable_cpus()
    waiting: deque[tuple[AttentionFile, Future[None]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for file, write in jobs:
            waiting.append((file, pool.submit(write)))
            if len(waiting) > workers:  # a picture has megabytes: no more are drawn than are being written
                yield _written(*waiting.popleft())
        while waiting:
            yield _written(*waiting.popleft())


def _written(file: AttentionFile, writing: "Future[None]") -> AttentionFile:
    writing.result()
    return file
