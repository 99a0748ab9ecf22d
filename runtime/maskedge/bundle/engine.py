"""Running a bundle's graph: the one place that knows onnxruntime."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

__all__ = ["Graph", "OnnxGraph", "Outputs"]

Outputs = dict[str, npt.NDArray[np.generic]]

SLOW_OPTIMIZERS = ["SkipLayerNormFusion"]
"""Fusions that make graphs slower: the fused CPU kernel takes 4 times as long as Add + LayerNormalization."""


class Graph(Protocol):
    """A scoring graph; inputs and outputs as `maskedge.bundle.format.GRAPH_INPUTS` and `GRAPH_OUTPUTS` say."""

    def run(self, outputs: list[str], inputs: dict[str, npt.NDArray[np.int64]]) -> Outputs:
        """The named outputs. Called from several threads at once."""
        ...


class OnnxGraph:
    """A graph in onnxruntime, each call on one thread: calls in parallel are faster than one call on many threads,
    and a row's floats then never depend on how work was split."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan is kept for every new shape, and each length is one
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_OPTIMIZERS
        )

    def run(self, outputs: list[str], inputs: dict[str, npt.NDArray[np.int64]]) -> Outputs:
        """The named outputs."""
        return dict(zip(outputs, self.session.run(outputs, inputs), strict=True))
