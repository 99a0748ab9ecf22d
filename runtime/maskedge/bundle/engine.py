"""Running a bundle's graph: what every engine does, and the one place that knows onnxruntime."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.32 would number this machine as it is imported
import onnxruntime

from maskedge.arrays import Int64Array
from maskedge.errors import EngineError

__all__ = [
    "BeforeBatch",
    "EngineChoice",
    "EngineName",
    "Graph",
    "Int64Array",
    "OnnxGraph",
    "Outputs",
    "WatchedGraph",
    "graph_inputs",
    "session_options",
]

EngineName = Literal["onnxruntime", "openvino"]
"""What runs graphs, by the name of its package."""
EngineChoice = Literal["auto", "onnxruntime", "openvino"]
"""An engine that is asked for, or `auto`, as `maskedge.bundle.engine_choice` says."""

Outputs = dict[str, npt.NDArray[np.generic]]

BeforeBatch = Callable[[int], object]
"""Called before a batch runs, with the number of tokens in it; from several threads at once.

An exception that it raises ends the call that the batch belongs to, and no further batch of that call begins."""

SLOW_OPTIMIZERS = ["SkipLayerNormFusion"]
"""Optimizers of onnxruntime that make graphs slower: this one's fused CPU kernel takes 4 times as long as the Add and
LayerNormalization that it replaces."""


class Graph(Protocol):
    """A scoring graph; inputs and outputs as `maskedge.bundle.format.GRAPH_INPUTS` and `GRAPH_OUTPUTS` say."""

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name. May be called from several threads at once."""
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
    """Options of an onnxruntime session that runs each call on one thread. The caller may change them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it would keep a plan for every shape, and every length of text is another
    options.log_severity_level = 4  # an error is raised, and need not be printed too
    return options


class OnnxGraph:
    """A graph in onnxruntime, which runs each call on one thread.

    Several calls at once, in threads of their own, are faster than one call on many threads. And a row's floats do not
    depend on the number of threads, since no sum is divided between them.

    `session` is the onnxruntime session, made with `options`, or with `session_options()`.

    Raises EngineError where onnxruntime cannot read the graph, or fails as it runs it.
    """

    def __init__(self, path: Path, options: onnxruntime.SessionOptions | None = None) -> None:
        self._path = path
        try:
            self.session = onnxruntime.InferenceSession(
                str(path),
                options or session_options(),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=SLOW_OPTIMIZERS,
                enable_fallback=0,  # which would print, and try the same again
            )
        except Exception as error:  # onnxruntime's own, which have no base in common
            raise EngineError(f"onnxruntime {onnxruntime.__version__} cannot run {path}: {error}") from error

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        try:
            return dict(zip(outputs, self.session.run(outputs, inputs), strict=True))
        except Exception as error:
            raise EngineError(f"onnxruntime {onnxruntime.__version__} failed in {self._path}: {error}") from error


class WatchedGraph:
    """A graph that calls a function before each batch: to show progress, or to stop by raising."""

    def __init__(self, graph: Graph, before_batch: BeforeBatch) -> None:
        self._graph = graph
        self._before_batch = before_batch

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name. What the function raises is raised, and the batch does not run."""
        self._before_batch(inputs["input_ids"].size)
        return self._graph.run(outputs, inputs)
