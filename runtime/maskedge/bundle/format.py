"""The bundle: a directory with a manifest, graphs and a tokenizer, every file hashed.

README.md             model card
config.json tokenizer.json tokenizer_config.json     as Hugging Face writes them
maskedge.json         the manifest
onnx/                 graphs and their weights
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from maskedge.errors import BundleCorruptError, BundleNotFoundError
from maskedge.plain_json import plain_json

__all__ = [
    "ATTENTION_INPUTS",
    "ATTENTION_OUTPUTS",
    "DEFAULT_BUNDLE",
    "FORMAT_VERSION",
    "GRAPH_INPUTS",
    "GRAPH_OUTPUTS",
    "MANIFEST_NAME",
    "Bundle",
    "FileEntry",
    "GoldenVector",
    "GraphEntry",
    "Manifest",
    "file_sha256",
    "is_lfs_pointer",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "maskedge.json"
DEFAULT_BUNDLE = Path(__file__).parents[1] / "default_bundle"
LFS_POINTER = b"version https://git-lfs"

EXTERNAL_DATA = re.compile(rb"\x6a(?P<entry>[\x0d-\x7f])\x0a\x08location\x12(?P<length>[\x01-\x73])", re.DOTALL)
"""How a graph's protobuf names the file that weights lie in: the length of an entry, its key, and the length of the
value that follows and ends the entry."""
LOCATION_KEY = re.compile(rb"[\x00\x08]location")
"""That key however the lengths around it are written: a string of 8 bytes."""

GRAPH_INPUTS = {
    "input_ids": "int64 [batch, length]",
    "mask_positions": "int64 [batch, masks]",
    "target_ids": "int64 [batch, masks, targets]",
    "top_k": "int64 [1]",
}
GRAPH_OUTPUTS = {
    "top_logprobs": "float32 [batch, masks, top_k], nats",
    "top_ids": "int64 [batch, masks, top_k]",
    "entropy": "float32 [batch, masks], nats",
    "target_logprobs": "float32 [batch, masks, targets], nats",
    "target_ranks": "int64 [batch, masks, targets], 1 is the most probable",
}

ATTENTION_INPUTS = {"input_ids": "int64 [batch, length]"}
ATTENTION_OUTPUTS = {"attentions": "float32 [batch, layers, heads, length, length], probabilities over the last axis"}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What the manifest says of one file."""

    sha256: str
    """Hexadecimal."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class GoldenVector:
    """An encoded input with the outputs that the exporting machine computed."""

    input_ids: tuple[int, ...]
    mask_positions: tuple[int, ...]
    top_ids: tuple[tuple[int, ...], ...]
    """[masks, 5]"""
    top_logprobs: tuple[tuple[float, ...], ...]
    """[masks, 5], nats"""

    def __post_init__(self) -> None:
        """Raises ValueError where its parts do not fit each other."""
        numbers = (*self.input_ids, *self.mask_positions, *chain.from_iterable(self.top_ids))
        if not all(isinstance(each, int) and 0 <= each < 2**63 for each in numbers):
            raise ValueError("a golden vector's ids and positions are to be whole numbers from 0")
        widths = {len(row) for row in (*self.top_ids, *self.top_logprobs)}
        if not len(self.mask_positions) == len(self.top_ids) == len(self.top_logprobs) or len(widths) != 1:
            raise ValueError("a golden vector is to have as many ids and log-probabilities for each of its masks")


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """One precision's graph."""

    file: str
    """Path within the bundle."""
    verification: Mapping[str, Any]
    """How the graph compares with its source: the metrics, the limits, and whether the metrics are within them."""
    golden: tuple[GoldenVector, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=lambda: dict(GRAPH_INPUTS))
    outputs: Mapping[str, str] = field(default_factory=lambda: dict(GRAPH_OUTPUTS))


@dataclass(frozen=True, slots=True)
class Manifest:
    """maskedge.json."""

    name: str
    source: Mapping[str, Any]
    """The checkpoint: its name, model type, and the sha256 of its weights."""
    mask_token: str
    max_length: int
    """Longest text in tokens, special tokens included."""
    vocab_size: int
    graphs: Mapping[str, GraphEntry]
    """By precision; the first is the default."""
    files: Mapping[str, FileEntry]
    standard: Mapping[str, GraphEntry] = field(default_factory=dict)
    """By precision: graphs in the form that Optimum and transformers.js load. This runtime does not open them."""
    attention: Mapping[str, GraphEntry] = field(default_factory=dict)
    """By precision: graphs of every head's attention probabilities, which share the scoring graphs' weights. None for
    architectures without a native encoder, and in bundles of earlier versions."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """What the quantized graphs were calibrated on: texts, rows and tokens, the seed they were drawn with, and the
    text's sha256. Empty where there are none, or an earlier version wrote the bundle."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Raises ValueError where a field is of another kind."""
        files = (entry.file for graphs in (self.graphs, self.standard, self.attention) for entry in graphs.values())
        if not all(isinstance(text, str) for text in (self.name, self.mask_token, *files)):
            raise ValueError("its name, its mask token and the names of its graphs' files are to be text")
        for number in (self.max_length, self.vocab_size):
            if not (isinstance(number, int) and 0 < number < 2**31):
                raise ValueError(
                    f"its max_length and its vocab_size are to be whole numbers above 0: here is {number!r}"
                )

    def to_json(self) -> str:
        """The file's text."""
        return plain_json(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """The manifest of a file's text. Raises KeyError, TypeError or ValueError where it is malformed."""
        fields = json.loads(text)
        if fields["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format is {fields['format_version']}; this maskedge reads {FORMAT_VERSION}")
        if not fields["graphs"]:
            raise ValueError("it names no graph")
        fields["graphs"] = {name: _graph_entry(entry) for name, entry in fields["graphs"].items()}
        for others in ("standard", "attention"):  # earlier bundles have none
            entries = fields.get(others, {}).items()
            fields[others] = {name: _graph_entry(entry) for name, entry in entries}
        fields["files"] = {name: FileEntry(**entry) for name, entry in fields["files"].items()}
        return cls(**fields)


def _graph_entry(fields: dict[str, Any]) -> GraphEntry:
    fields["golden"] = tuple(
        GoldenVector(
            input_ids=tuple(vector["input_ids"]),
            mask_positions=tuple(vector["mask_positions"]),
            top_ids=tuple(map(tuple, vector["top_ids"])),
            top_logprobs=tuple(tuple(map(_logprob, row)) for row in vector["top_logprobs"]),
        )
        for vector in fields["golden"]
    )
    return GraphEntry(**fields)


def _logprob(value: float | None) -> float:
    """A log-probability; that of 0 is no number in JSON."""
    return -math.inf if value is None else float(value)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what Git puts in its place where it was cloned without Git LFS. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    """Its directory."""
    manifest: Manifest

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> "Bundle":
        """The bundle in a directory.

        Args:
            path: The directory.
            verify: Whether every file is compared with its hash.

        Raises:
            BundleNotFoundError: The directory holds no manifest.
            BundleCorruptError: The manifest cannot be read or was written by a later version, or a file is missing or
                differs from its hash.
        """
        manifest_path = path / MANIFEST_NAME
        if not manifest_path.is_file():
            raise BundleNotFoundError(
                f"no bundle at {path}: {MANIFEST_NAME} is missing; "
                f"make one with `mlm-export bundle CHECKPOINT --out {path}`"
            )
        bundle = cls(path, _read_manifest(manifest_path))
        if verify:
            for name in bundle.manifest.files:
                bundle.check(name)
        return bundle

    def check(self, name: str) -> None:
        """Compares one file with the manifest.

        Args:
            name: The file's path within the bundle, which the manifest lists.

        Raises:
            BundleCorruptError: The file, which the message names, is missing or differs.
        """
        entry, path = self.manifest.files[name], self.file(name)
        if not path.is_file():
            raise BundleCorruptError(f"{path} is missing from the bundle; export or download the bundle again")
        if path.stat().st_size != entry.size or file_sha256(path) != entry.sha256:
            _refuse_pointer(path)
            raise BundleCorruptError(
                f"{path} was altered: its SHA-256 is not the manifest's; export or download it again"
            )

    def file(self, name: str) -> Path:
        """The path of a file of the bundle.

        A snapshot in the Hub's cache is made of links into its `blobs`, which count as parts of the bundle.

        Args:
            name: The file's path within the bundle.

        Raises:
            BundleCorruptError: The manifest does not list the name, so that nobody checked the file, or the name leads
                out of the bundle.
        """
        manifest, path, root = self.path / MANIFEST_NAME, self.path / name, self.path.resolve()
        if name not in self.manifest.files:
            raise BundleCorruptError(f"{path} is used, but {manifest} does not list it; export the bundle again")
        roots = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
        if not _stays_within(name) or not any(path.resolve().is_relative_to(inside) for inside in roots):
            raise BundleCorruptError(f"{manifest} names {name!r}, which lies outside the bundle")
        return path

    def graph_file(self, entry: GraphEntry) -> Path:
        """The path of a graph's file.

        Args:
            entry: The graph, from `graph`.

        Raises:
            BundleCorruptError: As `file`, for the graph and for the files of weights that it names.
        """
        path, *_ = [self.file(name) for name in self.graph_files(entry)]
        return path

    def graph_files(self, entry: GraphEntry) -> list[str]:
        """The names of a graph's file and of the files of weights that it reads, which other graphs may read too.

        Args:
            entry: The graph, from `graph`.

        Raises:
            BundleCorruptError: As `file`, or where the graph names files of weights as no export writes them.
        """
        path = self.file(entry.file)
        try:
            names = _weights_files(path.read_bytes())
        except ValueError as error:
            raise BundleCorruptError(f"{path}: {error}; export the bundle again") from error
        return [entry.file, *((PurePosixPath(entry.file).parent / name).as_posix() for name in sorted(names))]

    def graph(self, precision: str | None = None) -> tuple[str, GraphEntry]:
        """A precision's name and its graph.

        Args:
            precision: The precision; the bundle's default where None.

        Raises:
            BundleNotFoundError: The bundle has no graph of that precision.
        """
        graphs = self.manifest.graphs
        precision = precision or next(iter(graphs))
        if precision not in graphs:
            raise BundleNotFoundError(f"{self.path} has no {precision!r} graph; it has: {', '.join(graphs)}")
        return precision, graphs[precision]

    def attention_graph(self, precision: str) -> GraphEntry:
        """The graph of a precision's attention.

        Args:
            precision: The name of one of the bundle's graphs.

        Raises:
            BundleNotFoundError: The bundle has none.
        """
        if precision not in self.manifest.attention:
            raise BundleNotFoundError(
                f"{self.path} has no attention graph of {precision!r}: bundles of earlier versions and architectures "
                "without a native encoder have none; export its checkpoint again with `mlm-export bundle`"
            )
        return self.manifest.attention[precision]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all files' hashes: two bundles that share it give the same scores."""
        hashes = {name: entry.sha256 for name, entry in sorted(self.manifest.files.items())}
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def _stays_within(name: str) -> bool:
    """Whether a name cannot lead out of the directory it is relative to, on this system or another."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive)


def _weights_files(graph: bytes) -> set[str]:
    """Names of the external files that a graph's weights lie in, relative to the graph.

    Raises ValueError where one is written so that another reader of the same bytes might find another name.
    """
    plain = {match.end("entry") + len(b"\x0a\x08") - 1: match for match in EXTERNAL_DATA.finditer(graph)}
    for match in LOCATION_KEY.finditer(graph):
        found = plain.get(match.start())
        if found is None or found["entry"][0] != found["length"][0] + len(b"\x0a\x08location\x12?"):
            raise ValueError("it names a file of weights in a way that export does not write")
    return {graph[match.end() : match.end() + match["length"][0]].decode(errors="replace") for match in plain.values()}


def _refuse_pointer(path: Path) -> None:
    if is_lfs_pointer(path):
        raise BundleCorruptError(
            f"{path} is a Git LFS pointer, which only names the file that belongs here; fetch it: run git lfs pull in "
            f"the bundle's directory"
        )


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        _refuse_pointer(path)
        raise BundleCorruptError(f"{path} is no manifest that this version can read ({error!r})") from error
