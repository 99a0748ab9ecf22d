"""The fp32 graph says what transformers says, at every length, and holds nothing it does not need."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from maskedge.bundle.engine import OnnxGraph, graph_inputs
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.families import native_encoder
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs

OUTPUTS = ["top_logprobs", "top_ids", "entropy", "target_logprobs", "target_ranks"]
TOLERANCE = 1e-3  # nats


class Bigram(nn.Module):
    """The smallest model that has a token table and a head."""

    def __init__(self, vocab_size: int = 20) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(vocab_size, 8), nn.Linear(8, vocab_size)

    def forward(self, input_ids: torch.Tensor, mask_positions: torch.Tensor) -> torch.Tensor:
        rows = torch.gather(self.table(input_ids), 1, mask_positions.unsqueeze(-1).expand(-1, -1, 8))
        return self.head(rows)


@pytest.fixture(scope="module")
def graph(fp32_bundle: Path) -> OnnxGraph:
    return OnnxGraph(fp32_bundle / "onnx" / "fp32.onnx")


@pytest.fixture(scope="module")
def onnx_model(fp32_bundle: Path) -> onnx.ModelProto:
    return onnx.load(fp32_bundle / "onnx" / "fp32.onnx")


@torch.no_grad()
def torch_logprobs(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What transformers says [batch, masks, vocabulary], nats."""
    logits = model(ids).logits
    at_masks = torch.stack([row[at] for row, at in zip(logits, positions, strict=True)])
    return torch.log_softmax(at_masks.double(), -1)


def run(graph: OnnxGraph, ids: torch.Tensor, positions: torch.Tensor, *, top_k: int, targets: Any = None) -> Any:
    """The graph's outputs; targets [batch, masks, targets] are any tokens where None."""
    targets = np.zeros((*positions.shape, 1)) if targets is None else targets
    return graph.run(OUTPUTS, graph_inputs(ids.numpy(), positions.numpy(), targets, top_k))


def in_vocabulary_order(outputs: Any) -> Any:
    """Log-probabilities [batch, masks, vocabulary] of outputs asked with top_k = vocabulary."""
    logprobs = np.empty(outputs["top_ids"].shape)
    np.put_along_axis(logprobs, outputs["top_ids"], outputs["top_logprobs"], -1)
    return logprobs


@pytest.mark.parametrize("length", [3, 4, 11, 32, 48])
def test_logprobs_are_those_of_transformers(
    graph: OnnxGraph, loaded: Checkpoint, length: int, masked_ids: Callable[..., Any]
) -> None:
    vocab_size = loaded.encoder.config.vocab_size
    ids, positions = masked_ids(vocab_size, length=length)
    actual = in_vocabulary_order(run(graph, ids, positions, top_k=vocab_size))
    assert np.abs(actual - torch_logprobs(loaded.model, ids, positions).numpy()).max() <= TOLERANCE


@pytest.mark.parametrize(("batch", "masks"), [(1, 1), (1, 4), (5, 1), (2, 3)])
def test_batch_and_number_of_masks_are_free(
    graph: OnnxGraph, loaded: Checkpoint, batch: int, masks: int, masked_ids: Callable[..., Any]
) -> None:
    ids, positions = masked_ids(loaded.encoder.config.vocab_size, batch=batch, masks=masks)
    actual = run(graph, ids, positions, top_k=1)["top_logprobs"][..., 0]
    expected = torch_logprobs(loaded.model, ids, positions).amax(-1).numpy()
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE)


def test_scores_are_those_that_torch_computes(
    graph: OnnxGraph, loaded: Checkpoint, masked_ids: Callable[..., Any]
) -> None:
    ids, positions = masked_ids(loaded.encoder.config.vocab_size)
    expected = torch_logprobs(loaded.model, ids, positions)
    targets = torch.tensor([5, 17, 200]).expand(*positions.shape, 3)
    actual = run(graph, ids, positions, top_k=4, targets=targets.numpy())
    best = expected.topk(4)
    np.testing.assert_array_equal(actual["top_ids"], best.indices.numpy())
    np.testing.assert_allclose(actual["top_logprobs"], best.values.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(actual["entropy"], -(expected.exp() * expected).sum(-1).numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(actual["target_logprobs"], expected.gather(-1, targets).numpy(), atol=TOLERANCE)


def test_rank_counts_the_tokens_that_are_more_probable(
    graph: OnnxGraph, loaded: Checkpoint, masked_ids: Callable[..., Any]
) -> None:
    vocab_size = loaded.encoder.config.vocab_size
    ids, positions = masked_ids(vocab_size)
    every_token = np.broadcast_to(np.arange(vocab_size), (*positions.shape, vocab_size))
    outputs = run(graph, ids, positions, top_k=vocab_size, targets=every_token)
    logprobs = in_vocabulary_order(outputs)
    greater = logprobs[..., np.newaxis, :] > logprobs[..., :, np.newaxis]
    np.testing.assert_array_equal(outputs["target_ranks"], 1 + greater.sum(-1))


def test_equally_probable_tokens_share_the_first_rank(tmp_path: Path) -> None:
    model = Bigram()
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    exported = encoder_graph(model)
    add_scoring_outputs(exported)
    ir.save(exported, tmp_path / "even.onnx")
    targets = np.array([[[0, 9, 19]]])
    outputs = run(
        OnnxGraph(tmp_path / "even.onnx"), torch.tensor([[3, 4]]), torch.tensor([[1]]), top_k=0, targets=targets
    )
    assert outputs["target_ranks"].tolist() == [[[1, 1, 1]]]
    assert outputs["top_ids"].shape == (1, 1, 0)
    assert outputs["entropy"].item() == pytest.approx(math.log(20), abs=1e-6)


def test_each_layer_is_one_attention_node_and_nothing_is_split_or_transposed(
    onnx_model: onnx.ModelProto, loaded: Checkpoint
) -> None:
    counts = Counter(node.op_type for node in onnx_model.graph.node)
    assert isinstance(loaded.encoder, Encoder)
    assert counts["Attention"] == loaded.encoder.config.num_layers * loaded.encoder.config.passes
    assert counts["Split"] == 0
    assert counts["Transpose"] == 1  # the tied head's, folded when the session loads


def test_weights_are_stored_once(onnx_model: onnx.ModelProto, loaded: Checkpoint) -> None:
    assert isinstance(loaded.encoder, Encoder)
    config = loaded.encoder.config
    sizes = [math.prod(tensor.dims) for tensor in onnx_model.graph.initializer]
    assert sizes.count(config.vocab_size * config.embedding_width) == 1
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())  # a tied one counts once
    rotary = 2 * len(set(config.rope_thetas)) * config.max_length * config.head_size // 2
    assert sum(sizes) <= parameters + rotary + 32  # and a few constants


@pytest.mark.slow
def test_untied_head_keeps_its_own_weights(
    make_model: Callable[..., Any], masked_ids: Callable[..., Any], tmp_path: Path
) -> None:
    model = make_model("bert", tie_word_embeddings=False)
    exported = encoder_graph(native_encoder(model.config, model.state_dict()))
    ir.save(exported, tmp_path / "untied.onnx")
    table = model.config.vocab_size * model.config.hidden_size
    shapes = [value.shape.numpy() for value in exported.graph.initializers.values() if value.shape]
    assert [math.prod(shape) for shape in shapes].count(table) == 2
    ids, positions = masked_ids(model.config.vocab_size)
    session = onnxruntime.InferenceSession(tmp_path / "untied.onnx")
    (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "mask_positions": positions.numpy()})
    actual = torch.log_softmax(torch.from_numpy(logits).double(), -1)
    torch.testing.assert_close(actual, torch_logprobs(model, ids, positions), atol=TOLERANCE, rtol=0)


def test_nothing_of_the_exporting_machine_is_in_the_file(fp32_bundle: Path, onnx_model: onnx.ModelProto) -> None:
    assert not onnx_model.doc_string
    for node in onnx_model.graph.node:
        assert not node.doc_string
        assert not node.metadata_props  # the exporter's stack traces
    content = (fp32_bundle / "onnx" / "fp32.onnx").read_bytes()
    for trace in (".py", "site-packages", str(Path(__file__).parents[3]), str(fp32_bundle.parent)):
        assert trace.encode() not in content


def test_exporting_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    encoder_graph(Bigram())
    assert capfd.readouterr() == ("", "")
