"""A scoring graph whose outputs are looked at before anybody trusts them: a bundle may come from anywhere."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Graph, Outputs
from maskedge.bundle.format import GRAPH_OUTPUTS
from maskedge.errors import EngineError

__all__ = ["CheckedGraph"]


class CheckedGraph:
    """A scoring graph that gives what `maskedge.bundle.format.GRAPH_OUTPUTS` says, or raises EngineError."""

    def __init__(self, graph: Graph, path: Path, vocab_size: int) -> None:
        self.graph = graph
        self.padding = graph.padding
        self._path = path
        self._vocab_size = vocab_size

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        found = self.graph.run(outputs, inputs)
        shapes = _shapes(inputs)
        for name in outputs:
            values = found[name]
            kind = np.signedinteger if GRAPH_OUTPUTS[name].startswith("int") else np.floating
            if values.shape != shapes[name] or not np.issubdtype(values.dtype, kind):
                expected = f"{GRAPH_OUTPUTS[name]}, here {shapes[name]}"
                raise self._refusal(f"{name} is {values.dtype} {values.shape}", expected)
        self._check_ids(found.get("top_ids", np.array(())))
        return found

    def _check_ids(self, ids: npt.NDArray[np.generic]) -> None:
        if ids.size and not (ids.min() >= 0 and ids.max() < self._vocab_size):
            raise self._refusal(f"top_ids has ids from {ids.min()} to {ids.max()}", f"from 0 to {self._vocab_size - 1}")

    def _refusal(self, found: str, expected: str) -> EngineError:
        return EngineError(f"{self._path}: {found}; it must be {expected}. Export or download the bundle again")


def _shapes(inputs: Mapping[str, Int64Array]) -> dict[str, tuple[int, ...]]:
    """Of each output, for these inputs."""
    masks, candidates = inputs["mask_positions"].shape, int(inputs["top_k"][0])
    ranked, rated = (*masks, candidates), inputs["target_ids"].shape
    return {
        "top_logprobs": ranked,
        "top_ids": ranked,
        "entropy": masks,
        "target_logprobs": rated,
        "target_ranks": rated,
    }
