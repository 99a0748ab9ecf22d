"""Running a bundle's graph: what every engine does, and the one place that knows onnxruntime."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.32 would number this machine as it is imported
import onnxruntime

from maskedge.arrays import Int64Array
from maskedge.bundle.forking import Reopened
from maskedge.bundle.padding import UNPADDED, Padding
from maskedge.errors import EngineError

__all__ = [
    "BeforeBatch",
    "EngineChoice",
    "EngineName",
    "Graph",
    "Int64Array",
    "OnnxGraph",
    "Outputs",
    "PACKAGES",
    "PreparedGraph",
    "WatchedGraph",
    "graph_inputs",
    "prepared",
    "session_options",
]

EngineName = Literal["kernels", "onnxruntime", "openvino"]
"""What runs graphs: the project's own kernels, or a package."""
PACKAGES: dict[EngineName, str] = {"kernels": "onnxruntime", "onnxruntime": "onnxruntime", "openvino": "openvino"}
"""Of which an engine is made. Attention's graphs are onnxruntime's where the kernels run the others."""
EngineChoice = Literal["auto", "kernels", "onnxruntime", "openvino"]
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

    @property
    def padding(self) -> Padding:
        """How a batch may be padded with no change of a bit."""
        ...

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name. May be called from several threads at once.

        Where rows are padded there is another input, `lengths` [batch]: how many tokens of each are its own.
        """
        ...


@runtime_checkable
class PreparedGraph(Graph, Protocol):
    """A graph that does beforehand what a run does in Python: a thread that runs it has no need to wait for others."""

    def prepared(self, outputs: list[str], inputs: dict[str, Int64Array], idle: int = 0) -> Callable[[], Outputs]:
        """A run, to be called once, from any thread. So many `idle` threads may join it."""
        ...


def prepared(graph: Graph, outputs: list[str], inputs: dict[str, Int64Array], idle: int = 0) -> Callable[[], Outputs]:
    """A run of any graph, to be called once, from any thread. So many `idle` threads may join it."""
    if isinstance(graph, PreparedGraph):
        return graph.prepared(outputs, inputs, idle)
    return partial(graph.run, outputs, inputs)


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


def session_options(threads: int = 1) -> onnxruntime.SessionOptions:
    """Options of an onnxruntime session that runs each call on so many threads. The caller may change them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it would keep a plan for every shape, and every length of text is another
    options.log_severity_level = 4  # an error is raised, and need not be printed too
    return options


class OnnxGraph:
    """A graph in onnxruntime, which runs each call on one thread, or on as many as it is told.

    Several calls at once, in threads of their own, are faster than one call on many threads, which is sooner done. A
    row's floats do not depend on the number of threads, since no sum is divided between them.

    A forked process goes on with a graph of one thread, and opens one of more threads anew once it runs it.

    Raises EngineError where onnxruntime cannot read the graph, or fails as it runs it.
    """

    padding = UNPADDED
    """The graphs that are exported do not know of padding."""

    def __init__(self, path: Path, options: onnxruntime.SessionOptions | None = None, threads: int = 1) -> None:
        """`options` are those of the session; `session_options(threads)` where None."""
        self._path = path
        self._options = options or session_options(threads)
        self._session: Callable[[], Any]
        if self._options.intra_op_num_threads > 1:
            self._session = Reopened(self._open)
        else:  # has no thread
            session = self._open()
            self._session = lambda: session

    @property
    def session(self) -> Any:
        """onnxruntime's InferenceSession."""
        return self._session()

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        session = self._session()
        try:
            return dict(zip(outputs, session.run(outputs, inputs), strict=True))
        except Exception as error:  # onnxruntime's own, which have no base in common
            raise EngineError(f"onnxruntime {onnxruntime.__version__} failed in {self._path}: {error}") from error

    def _open(self) -> Any:
        try:
            return onnxruntime.InferenceSession(
                str(self._path),
                self._options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=SLOW_OPTIMIZERS,
                enable_fallback=0,  # which would print, and try the same again
            )
        except Exception as error:
            raise EngineError(f"onnxruntime {onnxruntime.__version__} cannot run {self._path}: {error}") from error


class WatchedGraph:
    """A graph that calls a function before each batch: to show progress, or to stop by raising."""

    def __init__(self, graph: Graph, before_batch: BeforeBatch) -> None:
        self._graph = graph
        self._before_batch = before_batch

    @property
    def padding(self) -> Padding:
        """That of the graph."""
        return self._graph.padding

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name. What the function raises is raised, and the batch does not run."""
        return self.prepared(outputs, inputs)()

    def prepared(self, outputs: list[str], inputs: dict[str, Int64Array], idle: int = 0) -> Callable[[], Outputs]:
        """As `run`, to be called once, from any thread."""
        run = prepared(self._graph, outputs, inputs, idle)

        def watched() -> Outputs:
            self._before_batch(inputs["input_ids"].size)
            return run()

        return watched
