"""What a graph says of its logits: the same bits for a row wherever it stands in a batch."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from maskedge.bundle.engine import EngineName, Graph
from maskedge.bundle.engine_choice import load_graph
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs

ROWS = 11


def scoring_graph(vocab_size: int, directory: Path, engine: EngineName = "onnxruntime") -> Graph:
    """A graph whose logits are looked up, at each text's only token: whatever differs lies behind them."""
    table = np.random.default_rng(0).normal(scale=3, size=(ROWS, 1, vocab_size)).astype(np.float32)
    ids, positions = (
        ir.Value(name=name, shape=ir.Shape(["batch", second]), type=ir.TensorType(ir.DataType.INT64))
        for name, second in (("input_ids", "length"), ("mask_positions", "masks"))
    )
    tape = ir.tape.Tape()
    rows = tape.op("Gather", [ids, tape.initializer(ir.tensor(np.array(0), name="first"))], {"axis": 1})
    logits = tape.op("Gather", [tape.initializer(ir.tensor(table, name="table")), rows], {"axis": 0})
    logits.shape, logits.name = ir.Shape(["batch", 1, vocab_size]), "logits"
    graph = ir.Graph(
        [ids, positions], [logits], nodes=tape.nodes, initializers=tape.initializers, opset_imports={"": 23}
    )
    model = ir.Model(graph, ir_version=10)
    add_scoring_outputs(model)
    ir.save(model, directory / "looked-up.onnx")
    return load_graph(directory / "looked-up.onnx", engine, threads=1)


def answers(graph: Graph, rows: list[int]) -> dict[str, np.ndarray]:
    """Of a batch."""
    texts = len(rows)
    inputs = {
        "input_ids": np.array(rows)[:, np.newaxis],
        "mask_positions": np.zeros((texts, 1), np.int64),
        "target_ids": np.full((texts, 1, 1), 7),
        "top_k": np.array([5]),
    }
    names = ["top_logprobs", "top_ids", "entropy", "target_logprobs", "target_ranks"]
    return {name: np.asarray(value) for name, value in graph.run(names, inputs).items()}


@pytest.mark.parametrize("vocab_size", [1001, 1002, 1003, 1004, 1008, 1016, 30522])
def test_a_row_has_the_same_bits_anywhere_in_a_batch(vocab_size: int, engine: EngineName, tmp_path: Path) -> None:
    graph = scoring_graph(vocab_size, tmp_path, engine)
    together = answers(graph, list(range(ROWS)))
    for row in range(ROWS):
        for name, value in answers(graph, [row]).items():
            assert value[0].tobytes() == together[name][row].tobytes(), (name, row)


def test_zeros_behind_a_row_change_no_entropy(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(scale=3, size=(ROWS, 1, 1002)).astype(np.float32).astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(np.exp(logprobs) * logprobs).sum(-1)
    np.testing.assert_allclose(
        answers(scoring_graph(1002, tmp_path), list(range(ROWS)))["entropy"], expected, rtol=1e-6
    )
