"""Writing graphs with their weights beside them; what several graphs of a bundle hold alike is written once."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx_ir as ir

__all__ = ["SHARED_WEIGHTS", "save_graphs"]

SHARED_WEIGHTS = "shared.data"
"""The file, beside the graphs, of what more than one of them holds."""

SMALLEST = 1024
"""Bytes of the smallest constant that is written outside the graph's file."""

Content = tuple[str, str, bytes]
"""A constant's type, shape and bytes."""


def save_graphs(models: Mapping[Path, ir.Model]) -> None:
    """Write each graph to its path, all in one directory, and its weights beside it.

    A weight that one graph has alone goes into a file named after the graph, with `.data` added; one that several
    graphs have goes into SHARED_WEIGHTS, once.
    """
    held = {path: _by_content(model) for path, model in models.items()}
    owners = Counter(content for values in held.values() for content in values)
    for path, values in held.items():
        own = {content: found for content, found in values.items() if owners[content] == 1}
        _externalize(own, [own], path.parent, f"{path.name}.data")
    shared = {c: found for values in held.values() for c, found in values.items() if owners[c] > 1}
    for directory in {path.parent for path in models} if shared else ():
        _externalize(shared, held.values(), directory, SHARED_WEIGHTS)
    for path, model in models.items():
        ir.save(model, path)


def _by_content(model: ir.Model) -> dict[Content, list[ir.Value]]:
    """The graph's large constants; several values may have the same content."""
    found: dict[Content, list[ir.Value]] = {}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes >= SMALLEST:
            found.setdefault((str(tensor.dtype), str(tensor.shape), tensor.tobytes()), []).append(value)
    return found


def _externalize(
    wanted: Iterable[Content], holders: Iterable[Mapping[Content, list[ir.Value]]], directory: Path, name: str
) -> None:
    """Write each of the wanted constants once, and let every value that holds it point there."""
    users = {content: [value for values in holders for value in values.get(content, ())] for content in wanted}
    tensors = [values[0].const_value for values in users.values()]
    written = ir.external_data.convert_tensors_to_external([t for t in tensors if t is not None], directory, name)
    for values, tensor in zip(users.values(), written, strict=True):
        for value in values:
            value.const_value = tensor
