"""Running a bundle's graph: the one place that knows onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from maskedge.arrays import Int64Array

__all__ = [
    "BeforeBatch",
    "Graph",
    "Int64Array",
    "OnnxGraph",
    "Outputs",
    "WatchedGraph",
    "graph_inputs",
    "session_options",
]

Outputs = dict[str, npt.NDArray[np.generic]]

BeforeBatch = Callable[[int], object]
"""Called before a batch runs, with the number of tokens in it; from several threads at once.

An exception that it raises ends the call that the batch belongs to, and no further batch of that call begins."""

SLOW_OPTIMIZERS = ["SkipLayerNormFusion"]
"""Fusions that make graphs slower: the fused CPU kernel takes 4 times as long as Add + LayerNormalization."""


class Graph(Protocol):
    """A scoring graph; inputs and outputs as `maskedge.bundle.format.GRAPH_INPUTS` and `GRAPH_OUTPUTS` say."""

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The named outputs. Called from several threads at once."""
        ...


def graph_inputs(
    input_ids: npt.ArrayLike, mask_positions: npt.ArrayLike, target_ids: npt.ArrayLike, top_k: int
) -> dict[str, Int64Array]:
    """The inputs of a scoring graph, by name.

    `input_ids` [batch, length] have their masks in place, at `mask_positions` [batch, masks]. The graph rates the
    `target_ids` [batch, masks, targets] and finds the `top_k` most probable tokens of each mask.
    """
    return {
        "input_ids": np.asarray(input_ids, np.int64),
        "mask_positions": np.asarray(mask_positions, np.int64),
        "target_ids": np.asarray(target_ids, np.int64),
        "top_k": np.array([top_k], np.int64),
    }


def session_options() -> onnxruntime.SessionOptions:
    """Options of an onnxruntime session whose every call runs on one thread; new ones each time, to be changed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan is kept for every new shape, and each length is one
    options.log_severity_level = 3  # errors
    return options


class OnnxGraph:
    """A graph in onnxruntime, each call on one thread: calls in parallel are faster than one call on many threads,
    and a row's floats then never depend on how work was split.

    `session` is the onnxruntime session, made with `options`, or with `session_options()`.
    """

    def __init__(self, path: Path, options: onnxruntime.SessionOptions | None = None) -> None:
        self.session = onnxruntime.InferenceSession(
            str(path),
            options or session_options(),
            providers=["CPUExecutionProvider"],
            disabled_optimizers=SLOW_OPTIMIZERS,
        )

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The named outputs."""
        return dict(zip(outputs, self.session.run(outputs, inputs), strict=True))


class WatchedGraph:
    """Any engine's graph, and what is called before each of its batches: to show progress, or to stop by raising."""

    def __init__(self, graph: Graph, before_batch: BeforeBatch) -> None:
        self._graph = graph
        self._before_batch = before_batch

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The named outputs."""
        self._before_batch(inputs["input_ids"].size)
        return self._graph.run(outputs, inputs)
