"""A product of 8-bit activations and weights as each engine's kernels run it, and of floats as onnxruntime does: on one
thread, timed by the engine's own clock."""

import json
import statistics
import tempfile
from ctypes import addressof, c_size_t, c_void_p, cast
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from timing import seconds_of

from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import OnnxGraph, session_options
from maskedge.kernels.library import BatchCall, Call, GridCall, ProductCall, ProgramCall, RoundingCall, kernels
from maskedge.kernels.packing import INNER, OUTER
from maskedge.kernels.pages import Pages, up_to

__all__ = ["Product", "kernel_seconds"]

WEIGHTS = 8
"""Matrices that take turns, so that none stays in the nearest cache; fewer where they are large."""
LARGE = 1 << 24
INTEGER, FLOAT = {"MatMulIntegerToFloat"}, {"MatMul", "Gemm", "FusedMatMul"}
FULLY_CONNECTED = {"FullyConnected", "FullyConnectedQuantizedLegacy"}


@dataclass(frozen=True, slots=True)
class Product:
    """[rows, inner] times [inner, outer]."""

    rows: int
    inner: int
    outer: int
    rounded: bool = False
    """Whether what it gives becomes levels of 8 bits. OpenVINO's kernel writes those, and onnxruntime's floats."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, inner, outer."""
        return self.rows, self.inner, self.outer


def kernel_seconds(product: Product, rounds: int) -> dict[str, float]:
    """The median time of one such product, seconds, by the kernel that runs it."""
    with tempfile.TemporaryDirectory() as scratch:
        integers, levels, floats = (Path(scratch, f"{name}.onnx") for name in ("integers", "levels", "floats"))
        onnx.save(model_of(product, integers=True), integers)
        onnx.save(model_of(product, integers=True, rounded=True), levels)
        onnx.save(model_of(product, integers=False), floats)
        tokens = np.random.default_rng(0).normal(size=(product.rows, product.inner)).astype(np.float32)
        return {
            "kernels": in_kernels(product, rounds),
            "onnxruntime": in_onnxruntime(integers, tokens, INTEGER, rounds),
            "OpenVINO": in_openvino(levels if product.rounded else integers, tokens, rounds),
            "onnxruntime, fp32": in_onnxruntime(floats, tokens, FLOAT, rounds),
        }


def model_of(product: Product, *, integers: bool, rounded: bool = False) -> onnx.ModelProto:
    """A graph of such products with different weights, which gives floats or levels of 8 bits."""
    copies = max(1, min(WEIGHTS, LARGE // (product.inner * product.outer)))
    nodes, weights, source = [], [], "x"
    if integers:
        weights += [
            numpy_helper.from_array(np.array(0.02, np.float32), "scale"),
            numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        ]
        nodes.append(helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["levels"]))
        nodes.append(helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["real"]))
        source = "real"
    for copy in range(copies):
        made, initializers = weight_of(product, copy, integers=integers)
        nodes += [*made, helper.make_node("MatMul", [source, f"w{copy}"], [f"y{copy}"])]
        weights += initializers
    name, kind = ("levels of y", TensorProto.UINT8) if rounded else ("y", TensorProto.FLOAT)
    if rounded:
        parts = ("y{}", "scale", "zero")
        nodes += [
            helper.make_node("QuantizeLinear", [part.format(copy) for part in parts], [f"{name}{copy}"])
            for copy in range(copies)
        ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [product.rows, product.inner])
    results = [
        helper.make_tensor_value_info(f"{name}{copy}", kind, [product.rows, product.outer]) for copy in range(copies)
    ]
    graph = helper.make_graph(nodes, "products", [given], results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def weight_of(product: Product, copy: int, *, integers: bool) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A matrix called w and its number, of 7-bit integers with a scale for each column, or of floats."""
    drawn = np.random.default_rng(copy).integers(-63, 64, (product.inner, product.outer), np.int8)
    if not integers:
        return [], [numpy_helper.from_array(drawn.astype(np.float32), f"w{copy}")]
    named: dict[str, Any] = {
        f"integers{copy}": drawn,
        f"scales{copy}": np.full(product.outer, 0.01, np.float32),
        f"zeros{copy}": np.zeros(product.outer, np.int8),
    }
    parts = [numpy_helper.from_array(part, name) for name, part in named.items()]
    return [helper.make_node("DequantizeLinear", list(named), [f"w{copy}"], axis=1)], parts


def in_onnxruntime(path: Path, tokens: Any, operators: set[str], rounds: int) -> float:
    """Seconds of one product, by its profiler."""
    options = session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = OnnxGraph(path, options).session
    for _ in range(rounds + 1):
        session.run(None, {"x": tokens})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: list[float] = [event["dur"] / 1e6 for event in events if event.get("args", {}).get("op_name") in operators]
    return statistics.median(times)


def in_kernels(product: Product, rounds: int) -> float:
    """Seconds of one product in maskedge's own kernels."""
    inner, outer = up_to(INNER, product.inner), up_to(OUTER, product.outer)
    rows = up_to(OUTER, product.rows)
    copies = max(1, min(WEIGHTS, LARGE // (product.inner * product.outer)))
    drawn = np.random.default_rng(0)
    memory = Pages()
    levels, columns, out = (memory.take(size) for size in (rows * inner, 4 * outer, 4 * rows * outer))
    levels[:] = drawn.integers(0, 256, levels.size, np.uint8)
    weights = [memory.take(inner * outer) for _ in range(copies)]
    for each in weights:
        each[:] = drawn.integers(-63, 64, each.size, np.int8).view(np.uint8)
    count, has_amx = c_size_t(rows), cpu_features().amx_int8
    sizes = {"rows": addressof(count), "inner": inner, "outer": outer, "has_amx": has_amx}
    numbers = dict.fromkeys(("scales", "shifts", "bias"), columns.ctypes.data)
    rounding = RoundingCall(out.ctypes.data, None, None, up_to(INNER, outer), GridCall(1, 1, 128, 0, 255))
    goes_to = {"rounding": rounding} if product.rounded else {"out": out.ctypes.data}
    calls = [
        ProductCall(levels=levels.ctypes.data, weights=each.ctypes.data, **sizes, **numbers, **goes_to)
        for each in weights
    ]
    runs = [partial(run_alone, "multiply", call) for call in calls]
    return statistics.median(seconds_of(run) for _ in range(rounds + 1) for run in runs)


def run_alone(name: str, argument: ProductCall) -> None:
    """One kernel, in a program that has no other."""
    call = Call(cast(getattr(kernels(), name), c_void_p), addressof(argument))
    current, batch = BatchCall(), BatchCall()
    program = ProgramCall(calls=addressof(call), count=1, for_each=1, current=addressof(current))
    kernels().run_batches(program, batch, 1, None, 1)


def in_openvino(path: Path, tokens: Any, rounds: int) -> float:
    """Seconds of one product, by its profiler."""
    from maskedge.bundle.openvino_graph import OPTIONS
    from maskedge.bundle.openvino_library import openvino
    from maskedge.bundle.openvino_model import with_fast_products

    core = openvino.Core()
    options = OPTIONS | {"PERF_COUNT": True, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(with_fast_products(core.read_model(path)), "CPU", options).create_infer_request()
    times = [seconds for _ in range(rounds + 1) for seconds in products_in(request, tokens)]
    return statistics.median(times)


def products_in(request: Any, tokens: Any) -> list[float]:
    """Seconds of each product of one run."""
    request.infer({"x": tokens})
    return [node.real_time.total_seconds() for node in request.profiling_info if node.node_type in FULLY_CONNECTED]
