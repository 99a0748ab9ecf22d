"""A bundle -> a directory with the page."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from maskedge.bundle.format import Bundle
from maskedge.static_page.packages import ONNXRUNTIME, PACKAGES, TOKENIZERS, fetch
from maskedge.static_page.page import make_page, readable_size
from maskedge.static_page.parts import Contents, pack

__all__ = ["INLINE_LIMIT", "WrittenPage", "how_to_open", "write_static_page"]

PAGE_NAME, PARTS_NAME = "index.html", "parts"
INLINE_LIMIT = 64_000_000
"""Largest sum of packed files, bytes, that stand within the page: a third more as text, which phones still open."""
NAMED_FILES = 3
"""How many of a directory's other files are named."""


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page on disk."""

    path: Path
    """The HTML file."""
    single_file: bool
    """Whether the HTML holds all that the page needs, so that it opens from a disk; otherwise a web server serves the
    directory."""
    sizes: Mapping[str, int]
    """Bytes of each packed file, by name: `wasm`, `graph`, `weights-0`, `tokenizer`, `tokenizer-config`, `tokens`."""
    total: int
    """Bytes of all files on disk."""


def write_static_page(
    bundle: Bundle, directory: Path, *, precision: str | None = None, single_file: bool | None = None
) -> WrittenPage:
    """Writes a page that fills masks with a bundle in the browser that shows it.

    What runs there, onnxruntime's WebAssembly build and a tokenizer, is fetched with npm now, in fixed versions; the
    page itself asks the network for nothing.

    Args:
        bundle: The bundle.
        directory: Where `index.html` is written; it is made, and may hold an earlier page.
        precision: One of the bundle's graphs; the bundle's first where None.
        single_file: Whether all stands within `index.html`. By default where the packed files have no more than
            `INLINE_LIMIT` bytes; otherwise they lie in `parts/` beside it.

    Raises:
        PageError: npm is missing or cannot fetch a package.
        BundleNotFoundError: The bundle has no graph of that precision.
        BundleCorruptError: A file of the bundle is missing.
        FileExistsError: The directory holds other files.
        OSError: The page cannot be written.
    """
    _check_directory(directory)
    contents = Contents(bundle, bundle.graph(precision)[0])
    (onnxruntime, wasm), (tokenizers,) = fetch(ONNXRUNTIME), fetch(TOKENIZERS)
    packed = {name: pack(content) for name, content in {"wasm": wasm, **contents.files()}.items()}
    sizes = {name: len(content) for name, content in packed.items()}
    if single_file is None:
        single_file = sum(sizes.values()) <= INLINE_LIMIT
    page = make_page(
        name=bundle.manifest.name,
        precision=contents.precision,
        card=_card(bundle),
        facts=contents.facts(),
        libraries={"ort": onnxruntime.decode(), "libraries": tokenizers.decode()},
        software=_software(),
        licenses=_licenses(),
        inside=packed if single_file else {},
        size=sum(sizes.values()),
    )
    total = _write(directory, page, {} if single_file else packed)
    return WrittenPage(directory / PAGE_NAME, single_file, sizes, total)


def how_to_open(page: WrittenPage) -> str:
    """A sentence for whoever wrote a page."""
    size = readable_size(page.total)
    if page.single_file:
        return f"{size} in one file: open it in a browser, or put it on any web server"
    return f"{size}; it wants a web server: python3 -m http.server --directory {page.path.parent}, then localhost:8000"


def _check_directory(directory: Path) -> None:
    if not directory.exists():
        return
    others = sorted(path.name for path in directory.iterdir() if path.name not in (PAGE_NAME, PARTS_NAME))
    if others:
        named = ", ".join(others[:NAMED_FILES]) + (", ..." if len(others) > NAMED_FILES else "")
        raise FileExistsError(f"{directory} holds other files ({named}): name a new directory")


def _card(bundle: Bundle) -> str:
    """The model's card without its metadata, if the bundle has one."""
    if "README.md" not in bundle.manifest.files:
        return f"{bundle.manifest.name} has no model card."
    text = bundle.file("README.md").read_text(encoding="utf-8")
    _, fence, rest = text.partition("\n---\n") if text.startswith("---\n") else ("", "", text)
    return (rest if fence or not text.startswith("---\n") else text).strip()


def _software() -> str:
    each = (f"{package.name} {package.version} ({package.license})" for package in PACKAGES)
    return f"Beside the page's own script: {' and '.join(each)}."


def _licenses() -> str:
    return (files("maskedge.static_page") / "licenses.txt").read_text(encoding="utf-8")


def _write(directory: Path, page: str, beside: Mapping[str, bytes]) -> int:
    """Writes the page after what it reads, and removes what an earlier page read. Gives the bytes of all files."""
    parts = directory / PARTS_NAME
    directory.mkdir(parents=True, exist_ok=True)
    if beside:
        parts.mkdir(exist_ok=True)
    for name, content in beside.items():
        (parts / f"{name}.gz").write_bytes(content)
    staged = directory / f".{PAGE_NAME}.{os.getpid()}"
    staged.write_text(page, encoding="utf-8")
    staged.replace(directory / PAGE_NAME)
    _remove_others(parts, {f"{name}.gz" for name in beside})
    return len(page.encode()) + sum(map(len, beside.values()))


def _remove_others(parts: Path, kept: set[str]) -> None:
    if not parts.is_dir():
        return
    for path in parts.glob("*.gz"):
        if path.name not in kept:
            path.unlink()
    if not kept and not any(parts.iterdir()):
        parts.rmdir()
