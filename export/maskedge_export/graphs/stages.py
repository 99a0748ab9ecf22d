"""A graph in stages, each of which goes on from what those before it have computed.

So what many questions share is computed once: one run of the whole graph shows the activations of every layer, those of
one stage at a time in memory; and graphs that differ in a late layer only share all layers before it.
"""

import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
import onnxruntime

from maskedge.bundle.engine import session_options
from maskedge_export.array_files import load_arrays, save_arrays
from maskedge_export.graphs.matmuls import weight_matmuls
from maskedge_export.in_order import in_order

__all__ = ["KeptValues", "Stage", "Values", "computed", "part", "stages"]

Values = Mapping[str, npt.NDArray[Any]]
"""Inputs and activations of one batch, by their names in the graph."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive nodes of a graph, among them MatMuls with weights."""

    takes: tuple[str, ...]
    """What these nodes and all after them need that is computed before, or is one of the graph's inputs."""
    activations: tuple[str, ...]
    """What is multiplied with weights here, and was not before."""
    hands_on: tuple[str, ...]
    """What the next stage takes; nothing, of the last one."""


class KeptValues:
    """Some values of batches, a file for each batch. The files are gone once nothing refers to them any longer."""

    def __init__(self, names: Sequence[str], directory: Path | None = None) -> None:
        """The files are made below `directory`; among the system's temporary ones where None."""
        self._names = names
        self._directory = Path(mkdtemp(dir=directory))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._files: list[Path] = []

    def append(self, values: Values) -> None:
        """Keep the next batch's, of which there may be more than are wanted."""
        file = self._directory / f"{len(self._files)}.safetensors"
        save_arrays({name: values[name] for name in self._names}, file)
        self._files.append(file)

    def __iter__(self) -> Iterator[Values]:
        yield from map(load_arrays, self._files)


def stages(model: ir.Model) -> list[Stage]:
    """The graph's stages, in its order. What the first one takes are the graph's inputs.

    A stage begins where the fewest values have to be handed on: of a BERT, that is where attention begins, and where
    the feed-forward does.
    """
    handed_on = _handed_on(model)
    fewest = min((_computed(values) for values in list(handed_on.values())[1:]), default=0)
    begun: list[tuple[list[ir.Value], list[str]]] = [(list(model.graph.inputs), [])]
    for activation, values in handed_on.items():
        are_tensors = all(isinstance(value.type, ir.TensorType) for value in values)  # and their type is known
        if begun[-1][1] and _computed(values) == fewest and are_tensors:
            begun.append((values, []))
        begun[-1][1].append(activation)
    taken = [tuple(str(value.name) for value in takes) for takes, _ in begun]
    activations = (tuple(names) for _, names in begun)
    return [Stage(*stage) for stage in zip(taken, activations, [*taken[1:], ()], strict=True)]


def part(model: ir.Model, takes: Sequence[str], gives: Iterable[str]) -> ir.Model:
    """The part of a graph that computes some of its values from others, those among the latter left out; it shares the
    graph's constants."""
    outputs = [name for name in dict.fromkeys(gives) if name not in takes]
    graph = ir.convenience.extract(model.graph, takes, outputs) if outputs else ir.Graph((), (), nodes=())
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))


def computed(model: ir.Model, values: Iterable[Values]) -> Iterator[Values]:
    """Each batch's values, and what a graph makes of them, batch by batch; several are computed at a time.

    Each runs in one thread, so that the same numbers come out on every machine.
    """
    outputs = [str(value.name) for value in model.graph.outputs]
    if not outputs:
        return iter(values)
    with TemporaryDirectory() as scratch:
        ir.save(model, Path(scratch) / "part.onnx", external_data="part.onnx.data")
        session = onnxruntime.InferenceSession(
            Path(scratch) / "part.onnx", session_options(), providers=["CPUExecutionProvider"]
        )
    inputs = [value.name for value in session.get_inputs()]

    def run(given: Values) -> Values:
        found = session.run(outputs, {name: given[name] for name in inputs})
        return {**given, **dict(zip(outputs, found, strict=True))}

    return in_order(run, values)


def _handed_on(model: ir.Model) -> dict[str, list[ir.Value]]:
    """By the name of each activation, in the graph's order: what is known at some node between the MatMul before and
    the first that takes it, and needed there or later. It is the node where that is least.

    What follows from constants alone is not handed on, but computed again.
    """
    lives, places = _lives(model), {node: index for index, node in enumerate(model.graph)}
    handed_on: dict[str, list[ir.Value]] = {}
    begin = 0
    for matmul in weight_matmuls(model):
        place = places[matmul.node]
        if matmul.input not in handed_on:
            known = [
                [value for value, (born, end) in lives.items() if born < at <= end] for at in range(begin, place + 1)
            ]
            handed_on[matmul.input] = min(reversed(known), key=_computed)
        begin = place + 1
    return handed_on


def _alive(lives: Mapping[ir.Value, tuple[int, int]], place: int) -> list[ir.Value]:
    """What is computed before the node of that number, and used there or later."""
    return [value for value, (begin, end) in lives.items() if begin < place <= end]


def _lives(model: ir.Model) -> dict[ir.Value, tuple[int, int]]:
    """Of every value that depends on the graph's inputs, the numbers of the nodes that compute it, -1 for an input, and
    that use it last."""
    nodes = list(model.graph)
    begin = dict.fromkeys(model.graph.inputs, -1)
    end: dict[ir.Value, int] = {}
    for index, node in enumerate(nodes):
        used = [value for value in _used(node) if value in begin]
        end |= dict.fromkeys(used, index)
        if used:
            begin |= dict.fromkeys(node.outputs, index)
    end |= dict.fromkeys(model.graph.outputs, len(nodes))
    return {value: (begin[value], last) for value, last in end.items()}


def _used(node: ir.Node) -> Iterator[ir.Value]:
    """A node's inputs, and what the graphs inside of it take from around it."""
    inner = [attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH]
    for user in (node, *(user for graph in inner for user in ir.traversal.RecursiveGraphIterator(graph))):
        yield from (value for value in user.inputs if value is not None)


def _computed(values: Iterable[ir.Value]) -> int:
    """How many of them are no inputs of the graph."""
    return sum(value.producer() is not None for value in values)
