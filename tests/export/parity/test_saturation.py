"""What a CPU without VNNI would give, emulated: u8 * s8 products added in pairs and cut off at 16 bits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from maskedge.bundle.cpu import features_of
from maskedge.bundle.engine import OnnxGraph
from maskedge.bundle.format import DEFAULT_BUNDLE, Bundle
from maskedge.bundle.golden_vectors import Verification, replay

pytestmark = pytest.mark.slow

TINY_BUNDLE = Path(__file__).parents[2] / "tiny_bundle"
HASWELL = features_of("x86_64", ["avx2", "fma"])
INT16 = np.iinfo(np.int16)


class PairedProducts:
    """A graph whose int8 products are spelled out, in pairs as `vpmaddubsw` adds them."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        graph = self.model.graph
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.producers = {output: node for node in graph.node for output in node.output}

    def save(self, path: Path, *, limits: tuple[float, float]) -> int:
        """Writes the graph with each pair's sum cut off at the limits; returns how many products it has."""
        graph, replaced = self.model.graph, 0
        nodes: list[NodeProto] = []
        for node in graph.node:
            sources = [self.producers[name] for name in node.input if name in self.producers]
            kinds = [source.op_type for source in sources]
            if node.op_type == "MatMul" and kinds == ["DequantizeLinear", "DequantizeLinear"]:
                nodes += self._product(node, *sources, limits=limits)
                replaced += 1
            else:
                nodes.append(node)
        del graph.node[:]
        graph.node.extend(nodes)
        onnx.save(self.model, path)
        return replaced

    def _product(
        self, node: NodeProto, left: NodeProto, right: NodeProto, *, limits: tuple[float, float]
    ) -> Iterator[NodeProto]:
        name = node.output[0]
        weights = self._weights(right.input[0]).astype(np.float32)  # [in, out]
        zero_point = self.arrays[left.input[2]].astype(np.float32)
        scale = self.arrays[left.input[1]] * self.arrays[right.input[1]]
        yield helper.make_node("Cast", [left.input[0]], [f"{name}.u8"], to=TensorProto.FLOAT)
        for half in (0, 1):
            places = self._constant(f"{name}.{half}.places", np.arange(half, len(weights), 2))
            axis = self._constant(f"{name}.{half}.axis", np.array([-1]))
            part = self._constant(f"{name}.{half}.weights", weights[half::2])
            yield helper.make_node("Gather", [f"{name}.u8", places], [f"{name}.{half}.taken"], axis=-1)
            yield helper.make_node("Unsqueeze", [f"{name}.{half}.taken", axis], [f"{name}.{half}.column"])
            yield helper.make_node("Mul", [f"{name}.{half}.column", part], [f"{name}.{half}"])
        bounds = [self._constant(f"{name}.limit{which}", np.float32(limits[which])) for which in (0, 1)]
        pairs = self._constant(f"{name}.pairs", np.array([-2]))
        shift = self._constant(f"{name}.shift", zero_point * weights.sum(0))
        yield helper.make_node("Add", [f"{name}.0", f"{name}.1"], [f"{name}.pair"])
        yield helper.make_node("Clip", [f"{name}.pair", *bounds], [f"{name}.cut"])
        yield helper.make_node("ReduceSum", [f"{name}.cut", pairs], [f"{name}.sum"], keepdims=0)
        yield helper.make_node("Sub", [f"{name}.sum", shift], [f"{name}.shifted"])
        yield helper.make_node(
            "Mul", [f"{name}.shifted", self._constant(f"{name}.scale", scale.astype(np.float32))], [name]
        )

    def _weights(self, name: str) -> np.ndarray:
        if name in self.arrays:
            return self.arrays[name]
        transpose = self.producers[name]  # of an embedding that the head shares
        assert transpose.op_type == "Transpose"
        return self.arrays[transpose.input[0]].T

    def _constant(self, name: str, array: np.ndarray | np.float32) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name


NO_LIMITS = (-np.inf, np.inf)
SIXTEEN_BITS = (INT16.min, INT16.max)


def replayed(bundle: Path, precision: str, path: Path, limits: tuple[float, float]) -> Verification:
    """What a bundle's graph says where the sums of pairs are cut off at the limits, against its golden vectors."""
    opened = Bundle.open(bundle)
    _, entry = opened.graph(precision)
    assert PairedProducts(opened.file(entry.file)).save(path, limits=limits) > 10
    return replay(OnnxGraph(path), precision, entry.golden, HASWELL)


@pytest.mark.parametrize(("bundle", "precision"), [(TINY_BUNDLE, "int8"), (DEFAULT_BUNDLE, "int8-avx2")])
def test_the_emulation_without_limits_is_the_graph(bundle: Path, precision: str, tmp_path: Path) -> None:
    """So what the next test finds is saturation."""
    assert replayed(bundle, precision, tmp_path / "exact.onnx", NO_LIMITS).max_logprob_difference <= 0.05


def test_saturation_is_noticed(tmp_path: Path) -> None:
    found = replayed(TINY_BUNDLE, "int8", tmp_path / "saturating.onnx", SIXTEEN_BITS)
    assert not found.passed
    assert found.saturates


def test_the_bundled_model_never_saturates(tmp_path: Path) -> None:
    found = replayed(DEFAULT_BUNDLE, "int8-avx2", tmp_path / "saturating.onnx", SIXTEEN_BITS)
    assert found.passed
    assert found.max_logprob_difference <= 0.05
