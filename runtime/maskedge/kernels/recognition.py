"""Recognizes the steps of an encoder in the graph that was exported of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.arrays import Float32Array, Int8Array
from maskedge.kernels.graph_file import GraphFile, Node
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Grid, Levels, Linear, Normalized, Value

__all__ = ["UnrecognizedError", "recognize"]


class UnrecognizedError(ValueError):
    """A graph has what no kernel computes."""


def recognize(graph: GraphFile) -> Linear:
    """The logits of a graph: a step that holds those before it. Raises UnrecognizedError."""
    try:
        return _Recognizer(graph).logits()
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # a node without what those of an encoder have
        raise UnrecognizedError(f"a node is none of an encoder's: {error!r}") from error


class _Recognizer:
    """Follows what makes a value back to the tokens. Each value is one step, however many use it."""

    def __init__(self, graph: GraphFile) -> None:
        self._graph = graph
        self._made_by = {name: node for node in graph.nodes for name in node.outputs}
        self._values: dict[str, Value] = {}
        self._at: dict[Value, AtMasks] = {}
        self._levels: dict[str, Levels] = {}
        self._divisors: dict[Levels, str] = {}
        self._matrices: dict[str, Int8Array] = {}

    def logits(self) -> Linear:
        softmax = [node for node in self._graph.nodes if node.operator == "LogSoftmax"]
        if len(softmax) != 1:
            raise UnrecognizedError(f"it has {len(softmax)} distributions")
        for node in self._graph.nodes:  # layer after layer: all at once, 24 of them would fill Python's stack
            if node.operator == "LayerNormalization":
                self._value(node.outputs[0])
        logits = self._value(softmax[0].inputs[0])
        if not isinstance(logits, Linear) or logits.has_gelu or logits.added is not None:
            raise UnrecognizedError("its logits are no linear function")
        return logits

    def _node(self, name: str, *operators: str) -> Node:
        node = self._made_by.get(name)
        if node is None or (operators and node.operator not in operators):
            found = "an input" if node is None else node.operator
            raise UnrecognizedError(f"{name} is made by {found}, not by {' or '.join(operators) or 'a node'}")
        return node

    def _value(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = self._recognized(name)
        return self._values[name]

    def _recognized(self, name: str) -> Value:
        kinds: dict[str, Callable[[Node], Value]] = {
            "LayerNormalization": self._normalized,
            "Gelu": self._gelu,
            "Attention": self._attended,
            "GatherElements": self._at_masks,
            "Add": self._sum,
            "Mul": self._row_product,
            "MatMul": self._product,
        }
        node = self._node(name, *kinds)
        return kinds[node.operator](node)

    def _normalized(self, node: Node) -> Normalized:
        if node.attributes.get("axis", -1) != -1:
            raise UnrecognizedError("a normalization is not over the last axis")
        weight, *bias = map(self._constant, node.inputs[1:])
        return Normalized(self._value(node.inputs[0]), weight, bias[0] if bias else None, node.attributes["epsilon"])

    def _gelu(self, node: Node) -> Linear:
        linear = self._value(node.inputs[0])
        if (
            not isinstance(linear, Linear)
            or linear.has_gelu
            or linear.added
            or node.attributes["approximate"] != "none"
        ):
            raise UnrecognizedError(f"a {node.attributes['approximate']} GELU of what no product made")
        return replace(linear, has_gelu=True)

    def _attended(self, node: Node) -> Attended:
        heads = {node.attributes[name] for name in ("q_num_heads", "kv_num_heads")}
        if len(node.inputs) != 3 or len(heads) != 1 or len(node.attributes) != 2:
            raise UnrecognizedError("an attention has a mask, another scale or fewer keys than queries")
        queries, keys, values = map(self._value, node.inputs)
        return Attended(queries, keys, values, *heads)

    def _at_masks(self, node: Node) -> AtMasks:
        if node.attributes["axis"] != 1:
            raise UnrecognizedError("it gathers other things than tokens")
        return self._masked(self._value(node.inputs[0]))

    def _masked(self, value: Value) -> AtMasks:
        if value not in self._at:
            self._at[value] = AtMasks(value)
        return self._at[value]

    def _sum(self, node: Node) -> Value:
        one, other = node.inputs
        if self._is_constant(other):
            return self._with_bias(self._value(one), self._constant(other))
        if {self._made_by[name].operator for name in node.inputs} == {"Mul", "Gather"}:
            return self._embedded(one, other)
        first, second = self._value(one), self._value(other)
        if isinstance(first, Linear) and isinstance(second, Linear) and self._is_rest(first, second):
            return replace(first, with_rest=True)
        if isinstance(second, Linear) and second.added is None and not second.has_gelu:
            return replace(second, added=first)
        raise UnrecognizedError(f"{node.outputs[0]} adds what no product made")

    def _with_bias(self, value: Value, bias: npt.NDArray[Any]) -> Linear:
        if not isinstance(value, Linear) or value.bias is not None or value.has_gelu or value.added is not None:
            raise UnrecognizedError("a bias is added to what no product made")
        return replace(value, bias=bias)

    def _is_rest(self, first: Linear, second: Linear) -> bool:
        """Whether two products are those of the two terms of the same levels. The second's levels are its own until
        the first's say that they have a rest."""
        same = first.weights is second.weights and first.levels is second.levels
        return same and second.with_rest and not first.with_rest and first.bias is None and second.bias is None

    def _embedded(self, scaled: str, positions: str) -> Embedded:
        if self._made_by[scaled].operator == "Gather":
            scaled, positions = positions, scaled
        tokens, scales = (self._node(name, "Cast", "Unsqueeze") for name in self._node(scaled, "Mul").inputs)
        gathered = [self._node(node.inputs[0], "Gather").inputs for node in (tokens, scales)]
        if any(ids != "input_ids" for _, ids in gathered):
            raise UnrecognizedError("it embeds other things than its tokens")
        table, numbers = self._node(positions, "Gather").inputs
        token_table, token_scales = (self._constant(name) for name, _ in gathered)
        return Embedded(token_table, token_scales, self._constant(table), *self._positions(numbers))

    def _positions(self, name: str) -> tuple[int, int | None]:
        """The first position of a text, and the token that is not counted, if there is one."""
        node = self._node(name, "Unsqueeze", "Add")
        if node.operator == "Unsqueeze":
            start, _, step = self._node(node.inputs[0], "Range").inputs
            if self._constant(step) != 1:
                raise UnrecognizedError("its positions are not counted")
            return int(self._constant(start)), None
        return int(self._constant(node.inputs[1])), self._not_counted(self._node(node.inputs[0], "Mul"))

    def _not_counted(self, node: Node) -> int:
        """Of positions as RoBERTa has them: the number of tokens so far, times whether this is one."""
        counted = self._node(node.inputs[0], "CumSum")
        is_token = self._node(node.inputs[1], "Cast")
        ids, padding = self._node(self._node(is_token.inputs[0], "Not").inputs[0], "Equal").inputs
        plain = not (counted.attributes.get("reverse") or counted.attributes.get("exclusive"))
        if (
            counted.inputs[0] != node.inputs[1]
            or ids != "input_ids"
            or self._constant(counted.inputs[1]) != 1
            or not plain
        ):
            raise UnrecognizedError("its positions are counted in another way")
        return int(self._constant(padding))

    def _product(self, node: Node) -> Linear:
        linear = self._linear(node)
        if linear.levels.least is not None:
            raise UnrecognizedError(f"{node.outputs[0]} is not multiplied by what its rows were divided by")
        return linear

    def _row_product(self, node: Node) -> Linear:
        """A product of rows that were divided by their largest size, times that."""
        linear = self._linear(self._node(node.inputs[0], "MatMul"))
        if node.inputs[1] != self._divisors.get(linear.levels):
            raise UnrecognizedError(f"{node.outputs[0]} is multiplied by something else than its rows were divided by")
        return linear

    def _linear(self, node: Node) -> Linear:
        levels, is_rest = self._rounded(node.inputs[0])
        dequantized = self._node(node.inputs[1], "DequantizeLinear").inputs
        weights, scales = self._weights(dequantized[0]), self._constant(dequantized[1])
        is_symmetric = not any(self._constant(name).any() for name in dequantized[2:])
        if weights.ndim != 2 or scales.shape != weights.shape[1:] or not is_symmetric:
            raise UnrecognizedError(f"{node.outputs[0]} has weights with another scale than one for each column")
        return Linear(levels, weights, scales, with_rest=is_rest)

    def _weights(self, name: str) -> Int8Array:
        """A matrix, or the transposed of one; the same array each time."""
        if name not in self._matrices:
            turned = self._made_by.get(name)
            self._matrices[name] = self._constant(turned.inputs[0]).T if turned else self._constant(name)
        if self._matrices[name].dtype != np.int8:
            raise UnrecognizedError(f"{name} is not of 8-bit integers")
        return self._matrices[name]

    def _rounded(self, name: str) -> tuple[Levels, bool]:
        """The levels of which a node makes numbers again, and whether they are those of the second term."""
        dequantized = self._node(name, "DequantizeLinear").inputs
        quantized = self._node(dequantized[0], "QuantizeLinear")
        scale, zero_point = (self._constant(each) for each in quantized.inputs[1:])
        if dequantized[1:] != quantized.inputs[1:] or scale.size != 1 or zero_point.dtype != np.uint8:
            raise UnrecognizedError(f"{name} has levels of another kind")
        source, grid = self._unclipped(quantized.inputs[0], Grid(float(scale), int(zero_point)))
        made_by = self._node(source)
        if made_by.operator == "Sub":
            first, _ = self._rounded(made_by.inputs[1])
            first.rest = grid
            return first, True
        if dequantized[0] not in self._levels:
            self._levels[dequantized[0]] = self._first_levels(made_by, grid)
        return self._levels[dequantized[0]], False

    def _first_levels(self, source: Node, grid: Grid) -> Levels:
        if source.operator != "Div":
            return Levels(*self._scaled(source), grid, None)
        numbers, divisor = source.inputs
        largest, least = self._node(divisor, "Max").inputs
        if self._node(self._node(largest, "ReduceMax").inputs[0], "Abs").inputs[0] != numbers:
            raise UnrecognizedError(f"{source.outputs[0]} is not divided by its largest size")
        levels = Levels(self._value(numbers), None, grid, float(self._constant(least)))
        self._divisors[levels] = divisor
        return levels

    def _scaled(self, source: Node) -> tuple[Value, Float32Array | None]:
        """A value, and the factors of its columns if it is multiplied by them."""
        if source.operator == "GatherElements" and self._made_by[source.inputs[0]].operator == "Mul":
            value, factors = self._scaled(self._made_by[source.inputs[0]])
            return self._masked(value), factors
        if source.operator == "Mul" and self._is_constant(source.inputs[1]):
            return self._value(source.inputs[0]), self._constant(source.inputs[1])
        return self._value(source.outputs[0]), None

    def _unclipped(self, name: str, grid: Grid) -> tuple[str, Grid]:
        """What is clipped before it is rounded, and the levels that it may have then."""
        node = self._node(name)
        if node.operator != "Clip":
            return name, grid
        source, *limits = node.inputs
        levels = [float(self._constant(limit)) / grid.scale + grid.zero_point for limit in limits]
        lowest, highest = map(round, levels)
        if not np.allclose(levels, [lowest, highest], rtol=0, atol=0.01) or not 0 <= lowest <= highest <= 255:
            raise UnrecognizedError(f"{name} is clipped between levels, at {levels}")
        return source, replace(grid, lowest=lowest, highest=highest)

    def _is_constant(self, name: str) -> bool:
        made = self._made_by.get(name)
        return made.operator == "Cast" and self._is_constant(made.inputs[0]) if made else name in self._graph.constants

    def _constant(self, name: str) -> npt.NDArray[Any]:
        """A constant's numbers; halves as floats."""
        while name not in self._graph.constants:
            (name,) = self._node(name, "Cast").inputs
        values = self._graph.constants[name]
        return values.astype(np.float32) if values.dtype == np.float16 else values
