"""What every caller of onnxruntime shares: a graph's inputs, and sessions of one thread."""

from pathlib import Path

import numpy as np
import pytest

from maskedge import EngineError
from maskedge.bundle.engine import OnnxGraph, graph_inputs, session_options


def test_inputs_are_those_that_a_graph_declares(bundle: Path) -> None:
    inputs = graph_inputs([[2, 4, 3]], [[1]], [[[7, 8]]], top_k=5)
    declared = OnnxGraph(bundle / "onnx" / "fp32.onnx").session.get_inputs()
    assert {name: array.ndim for name, array in inputs.items()} == {node.name: len(node.shape) for node in declared}
    assert {str(array.dtype) for array in inputs.values()} == {"int64"}
    assert {node.type for node in declared} == {"tensor(int64)"}


def test_arrays_of_the_right_type_are_not_copied() -> None:
    ids = np.array([[2, 4, 3]], np.int64)
    assert graph_inputs(ids, [[1]], [[[7]]], top_k=1)["input_ids"] is ids


def test_a_session_takes_other_options(bundle: Path, tmp_path: Path) -> None:
    options = session_options()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    graph = OnnxGraph(bundle / "onnx" / "fp32.onnx", options)
    assert (tmp_path / "optimized.onnx").is_file()
    assert graph.session.get_session_options().intra_op_num_threads == 1


def test_what_onnxruntime_says_of_a_run_is_told_with_the_graph(bundle: Path) -> None:
    graph = OnnxGraph(bundle / "onnx" / "fp32.onnx")
    outside = graph_inputs([[1 << 40]], [[0]], [[[0]]], top_k=1)
    with pytest.raises(EngineError, match=r"onnxruntime \S+ failed in .*fp32\.onnx: .*[Gg]ather"):
        graph.run(["top_ids"], outside)
