"""What a bundle's graph is made of, what onnxruntime makes of it on this machine, and where its time goes."""

import json
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx_ir as ir

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import OnnxGraph, graph_inputs, session_options
from maskedge.bundle.format import Bundle
from maskedge_export.graphs.layer_names import weight_name
from maskedge_export.quantization.weight_only import ACCURACY_LEVEL_INT8

__all__ = ["Inspection", "NodeTime", "inspect_graph"]

ROWS, LENGTH, MASKS, TOP_K = 32, 32, 1, 5
"""The batch that is timed: 1,024 tokens, as the runtime makes them."""
RUNS = 6
"""The first is not counted: memory is taken then."""

INTEGER_PRODUCTS = {"MatMulIntegerToFloat", "MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"}
FLOAT_PRODUCTS = {"MatMul", "FusedMatMul", "Gemm", "FusedGemm"}
BLOCK_PRODUCTS = {"MatMulNBits"}
"""Of weights in blocks of few bits; an attribute says in which numbers they are multiplied."""
PRODUCTS = INTEGER_PRODUCTS | FLOAT_PRODUCTS | BLOCK_PRODUCTS
ATTENTIONS = {"Attention", "MultiHeadAttention"}
NARROW = {ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4}
FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node of the optimized graph."""

    name: str
    operator: str
    seconds: float
    """Of one run, the median."""
    weight: str
    """The layer whose weight it multiplies with, such as `blocks.0.mlp.up`; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One graph of a bundle, as it is saved and as this machine runs it."""

    precision: str
    file: str
    size: int
    """Bytes, with the weights that it reads, which other graphs may read too."""
    saved: Mapping[str, int]
    """Operators of the saved graph, by how many there are."""
    optimized: Mapping[str, int]
    """Those of the graph that onnxruntime makes of it here."""
    weights: Mapping[str, int]
    """Bytes of initializers by their type."""
    quantized_weights: float
    """Share of the weights that are stored in at most 8 bits."""
    integer_work: float
    """Share of the multiplications of all matrix products, attention included, that are done in 8-bit integers."""
    seconds: float
    """Of one run on one thread: `batch` says of what."""
    batch: str
    time: Mapping[str, float]
    """Share of the time by operator, the largest first."""
    left_in_float: tuple[NodeTime, ...]
    """Products with a constant weight that run in fp32 and could run in int8, the slowest first."""
    slowest: tuple[NodeTime, ...]
    """The ten nodes that take most time."""

    @property
    def fused(self) -> dict[str, int]:
        """Operators that only the optimized graph has: what onnxruntime fused."""
        return {name: count for name, count in self.optimized.items() if name not in self.saved}


def inspect_graph(bundle: Bundle, precision: str | None = None) -> Inspection:
    """What a bundle's graph is made of, and where its time goes when it is run a few times on one thread.

    Args:
        bundle: The bundle.
        precision: Which of its graphs; the bundle's default where None.

    Raises BundleNotFoundError for a precision that the bundle does not hold.
    """
    name, entry = bundle.graph(precision)
    path = bundle.graph_file(entry)
    model = ir.load(path)
    with tempfile.TemporaryDirectory() as scratch:
        events, optimized = _profile(path, Path(scratch), bundle.manifest.max_length)
    nodes = _node_times(events, _weight_names(model, optimized))
    total = max(1e-9, sum(node.seconds for node in nodes))
    shares: defaultdict[str, float] = defaultdict(float)
    for node in nodes:
        shares[node.operator] += node.seconds / total
    weighted = {str(node.name) for node in optimized.graph if node.op_type in FLOAT_PRODUCTS and _has_weight(node)}
    return Inspection(
        precision=name,
        file=entry.file,
        size=sum(bundle.manifest.files[file].size for file in bundle.graph_files(entry)),
        saved=_operators(model),
        optimized=_operators(optimized),
        weights=_weight_bytes(model),
        quantized_weights=_quantized_share(model),
        integer_work=_integer_share(events, {str(node.name) for node in optimized.graph if _multiplies_integers(node)}),
        seconds=total,
        batch=f"{ROWS} rows of {min(LENGTH, bundle.manifest.max_length)} tokens, {MASKS} mask each",
        time=dict(sorted(shares.items(), key=lambda item: -item[1])),
        left_in_float=tuple(node for node in nodes if node.name in weighted),
        slowest=tuple(nodes[:10]),
    )


def _profile(path: Path, scratch: Path, max_length: int) -> tuple[list[dict[str, Any]], ir.Model]:
    """Each node's run, all but those of the first run of the graph, and the graph that was run."""
    options = session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(scratch / "profile")
    options.optimized_model_filepath = str(scratch / "optimized.onnx")
    session = OnnxGraph(path, options).session
    inputs = _typical_batch(min(LENGTH, max_length))
    for _ in range(RUNS):
        session.run(None, inputs)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    _, *later = sorted(event["ts"] for event in events if event["name"] == "model_run")
    kept = [event for event in events if event.get("cat") == "Node" and event["ts"] >= min(later)]
    return kept, ir.load(scratch / "optimized.onnx")


def _typical_batch(length: int) -> dict[str, Int64Array]:
    positions = np.full((ROWS, MASKS), length // 2)
    return graph_inputs(np.ones((ROWS, length)), positions, np.zeros((ROWS, MASKS, 1)), TOP_K)


def _node_times(events: Iterable[dict[str, Any]], weights: Mapping[str, str]) -> list[NodeTime]:
    """The slowest first. Each node's median, since another program may take the CPU away in the middle of one."""
    runs: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        runs[_node_name(event), event["args"]["op_name"]].append(event["dur"])
    times = [
        NodeTime(name, operator, median(spent) / 1e6, weights.get(name, "")) for (name, operator), spent in runs.items()
    ]
    return sorted(times, key=lambda node: -node.seconds)


def _weight_names(saved: ir.Model, optimized: ir.Model) -> dict[str, str]:
    """The layer of each product of the optimized graph that has a weight, by the product's name."""
    tables = {  # onnxruntime transposes the table of a tied head when it loads it, under another name
        node.outputs[0].name: node.inputs[0].name
        for node in saved.graph
        if node.op_type == "Transpose" and node.inputs[0] is not None and node.inputs[0].is_initializer()
    }
    return {
        str(node.name): weight_name(str(tables.get(weight.name, weight.name)))
        for node in optimized.graph
        if node.op_type in PRODUCTS and (weight := node.inputs[1]) is not None and weight.is_initializer()
    }


def _operators(model: ir.Model) -> dict[str, int]:
    return dict(Counter(node.op_type for node in model.graph).most_common())


def _weight_bytes(model: ir.Model) -> dict[str, int]:
    """The largest first."""
    sizes = Counter[str]()
    for tensor in _constants(model):
        sizes[tensor.dtype.name.lower()] += tensor.nbytes
    return dict(sizes.most_common())


def _quantized_share(model: ir.Model) -> float:
    """4-bit weights that are packed in pairs count as two."""
    packed = {
        str(node.inputs[1].name): 8 // node.attributes.get_int("bits", 4)
        for node in model.graph
        if node.op_type == "MatMulNBits" and node.inputs[1] is not None
    }
    counts = dict.fromkeys((*NARROW, *FLOATS), 0)
    for tensor in _constants(model):
        if tensor.dtype in counts:
            counts[tensor.dtype] += tensor.size * packed.get(str(tensor.name), 1)
    return sum(counts[kind] for kind in NARROW) / max(1, sum(counts.values()))


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    return (value.const_value for value in model.graph.initializers.values() if value.const_value is not None)


def _has_weight(node: ir.Node) -> bool:
    return any(value is not None and value.is_initializer() for value in node.inputs[:2])


def _multiplies_integers(node: ir.Node) -> bool:
    if node.op_type in BLOCK_PRODUCTS:
        return node.attributes.get_int("accuracy_level", 0) == ACCURACY_LEVEL_INT8
    return node.op_type in INTEGER_PRODUCTS


def _integer_share(events: Iterable[dict[str, Any]], integer_nodes: set[str]) -> float:
    work = Counter[bool]()
    for event in events:
        operator, name = event["args"]["op_name"], _node_name(event)
        if operator in PRODUCTS | ATTENTIONS:
            work[name in integer_nodes] += _multiplications(operator, event["args"])
    return work[True] / max(1, work.total())


def _node_name(event: Mapping[str, Any]) -> str:
    return str(event["name"]).removesuffix("_kernel_time")


def _multiplications(operator: str, shapes: Mapping[str, Any]) -> int:
    """Of one run of a node: for each element of a product's output, one for each column of its first input."""
    first, *others = (next(iter(shape.values())) for shape in shapes["input_type_shape"])
    output = next(iter(shapes["output_type_shape"][0].values()))
    elements = int(math.prod(output))
    if operator in ATTENTIONS:  # scores of every query with every key, and as many to mix the values
        return 2 * elements * int(others[0][-2])
    return elements * int(first[-1])
