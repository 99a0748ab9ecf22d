"""Reads an ONNX file as far as the kernels need to know it: nodes, and the arrays that they use.

The fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, in the encoding that
https://protobuf.dev/programming-guides/encoding describes. The package `onnx` would be needed for no more than this.
"""

import mmap
import struct
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GraphFile", "Node", "read_graph"]

Fields = dict[int, list[Any]]
"""Of a message: the values of each field by its number; numbers, and memory of what has a length."""

TYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
}
"""Of a tensor's numbers, by their number in ONNX."""

VARINT, EIGHT_BYTES, WITH_LENGTH, FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with the names of what it takes and gives."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    """Integers, floats and strings by name; others are None."""


@dataclass(frozen=True, slots=True)
class GraphFile:
    """The nodes of a graph, in an order in which they can run, and its constants."""

    nodes: tuple[Node, ...]
    constants: dict[str, npt.NDArray[Any]]
    """By name. They lie in files, and are read as they are used."""
    files: tuple[mmap.mmap, ...] = ()

    def leave_on_disk(self) -> None:
        """Gives back the memory that reading took. What is used again is read again."""
        for file in self.files:
            file.madvise(mmap.MADV_DONTNEED)


def read_graph(path: Path) -> GraphFile:
    """The graph of a file. Raises ValueError where it holds none."""
    try:
        files = {path.name: _mapped(path)}
        (graph,) = _fields(memoryview(files[path.name]))[7]
        fields = _fields(graph)
        constants = dict(_constant(_fields(tensor), path.parent, files) for tensor in fields[5])
        return GraphFile(tuple(map(_node, fields[1])), constants, tuple(files.values()))
    except (IndexError, KeyError, TypeError, ValueError, struct.error, OSError) as error:
        raise ValueError(f"{path} is no graph that can be read: {error!r}") from error


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _fields(message: memoryview) -> Fields:
    fields: Fields = defaultdict(list)
    at = 0
    while at < len(message):
        value: Any
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            value -= value >> 63 << 64  # the upper half are negative numbers
        elif kind == WITH_LENGTH:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise IndexError("it ends too soon")
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            length, code = (8, "<d") if kind == EIGHT_BYTES else (4, "<f")
            value, at = struct.unpack_from(code, message, at)[0], at + length
        else:
            raise IndexError(f"there is no kind {kind} of field")
        fields[number].append(value)
    return fields


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer in groups of 7 bits, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _node(message: memoryview) -> Node:
    fields = _fields(message)
    inputs, outputs = (tuple(map(_text, fields[number])) for number in (1, 2))
    return Node(_text(fields[4][0]), inputs, outputs, dict(map(_attribute, map(_fields, fields[5]))))


def _attribute(fields: Fields) -> tuple[str, Any]:
    value = fields[2] or fields[3] or [_text(text) for text in fields[4]]
    return _text(fields[1][0]), value[0] if value else None


def _constant(fields: Fields, folder: Path, files: dict[str, mmap.mmap]) -> tuple[str, npt.NDArray[Any]]:
    shape = _integers(fields[1])
    kind = np.dtype(TYPES[fields[2][0]])
    size = int(np.prod(shape, dtype=np.int64))
    if fields[13]:
        where = {_text(entry[1][0]): _text(entry[2][0]) for entry in map(_fields, fields[13])}
        values = np.frombuffer(_beside(where["location"], folder, files), kind, size, int(where.get("offset", 0)))
    elif fields[9]:
        values = np.frombuffer(fields[9][0], kind, size)
    else:
        values = np.array([*_floats(fields[4]), *_integers(fields[5]), *_integers(fields[7])], kind)
    return _text(fields[8][0]), values.reshape(shape)


def _beside(name: str, folder: Path, files: dict[str, mmap.mmap]) -> mmap.mmap:
    """A file in the same folder, which is opened once."""
    if Path(name).name != name:
        raise IndexError(f"{name} is not beside it")
    if name not in files:
        files[name] = _mapped(folder / name)
    return files[name]


def _integers(values: list[Any]) -> list[int]:
    """Integers that are fields each, or packed into one."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(number - (number >> 63 << 64))
    return found


def _floats(values: list[Any]) -> list[float]:
    """Floats that are fields each, or packed into one."""
    parts = ([value] if isinstance(value, float) else np.frombuffer(value, "<f4").tolist() for value in values)
    return [number for part in parts for number in part]
