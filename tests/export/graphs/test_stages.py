"""A graph run stage by stage computes what it computes in one, whatever its architecture."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx_ir.passes.common import ShapeInferencePass
from tiny_families import NATIVE

from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.graphs.matmuls import matmul_inputs, separate_gemms
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.graphs.stages import KeptValues, Values, computed, part, stages
from maskedge_export.quantization.smoothquant import observed_inputs, smooth

GENERIC = ("deberta-v2", "mobilebert", "mpnet", "perceiver", "xlm")
"""Some of the families that are exported as transformers computes them."""

WITH_A_BRANCH = """
<ir_version: 10, opset_import: ["" : 23]>
branching (float[2, 4] x, bool choice) => (float[2, 4] y)
<float[4, 4] a = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1},
 float[4, 4] b = {0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0}>
{
    turned = Transpose (b)
    other = Abs (x)
    twice = Add (x, x)
    first = MatMul (twice, a)
    second = MatMul (first, turned)
    y = If (choice) <
        then_branch = yes () => (float[2, 4] more) { more = Add (second, other) },
        else_branch = no () => (float[2, 4] less) { less = Sub (second, other) }
    >
}
"""
"""`other` is needed inside of the branch only, and `turned` depends on a constant alone."""


def in_stages(model: ir.Model, batches: list[Values]) -> list[dict[str, Any]]:
    """All activations that are multiplied with weights, of each batch."""
    found: list[dict[str, Any]] = [{} for _ in batches]
    values: Any = batches
    for stage in stages(model):
        kept = KeptValues(stage.hands_on)
        for of_batch, given in zip(
            found, computed(part(model, stage.takes, (*stage.activations, *stage.hands_on)), values), strict=True
        ):
            of_batch |= {name: given[name] for name in stage.activations}
            kept.append(given)
        values = kept
    return found


def at_once(model: ir.Model, batches: list[Values], directory: Path) -> list[dict[str, Any]]:
    probe = model.clone()
    activations = matmul_inputs(probe)
    probe.graph.outputs[:] = list(activations.values())
    ir.save(probe, directory / "probe.onnx")
    session = onnxruntime.InferenceSession(directory / "probe.onnx")
    return [dict(zip(activations, session.run(list(activations), dict(batch)), strict=True)) for batch in batches]


@pytest.mark.slow
@pytest.mark.parametrize("family", [*NATIVE, *GENERIC])
def test_stages_compute_what_the_graph_does(
    family: str, checkpoints: Callable[[str], Path], masked_ids: Callable[..., Any], tmp_path: Path
) -> None:
    source = load_checkpoint(str(checkpoints(family)))
    model = encoder_graph(source.encoder)
    separate_gemms(model)
    texts = [masked_ids(source.vocab_size, length=length, masks=1) for length in (7, 16)]
    batches: list[Values] = [{"input_ids": ids.numpy(), "mask_positions": at.numpy()} for ids, at in texts]
    expected, actual = at_once(model, batches, tmp_path), in_stages(model, batches)
    assert list(actual[0]) == list(expected[0]) == list(matmul_inputs(model))
    for of_batch, known in zip(actual, expected, strict=True):
        for name, array in of_batch.items():
            np.testing.assert_allclose(array, known[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("smoothed", [False, True])
def test_a_stage_begins_where_a_layer_does(
    smoothed: bool, checkpoints: Callable[[str], Path], masked_ids: Callable[..., Any]
) -> None:
    encoder = load_checkpoint(str(checkpoints("bert"))).native()
    if smoothed:  # each layer's input has factors of its own
        with observed_inputs(encoder) as seen:
            encoder(*masked_ids(300, masks=1))
        smooth(encoder, seen)
    found = stages(encoder_graph(encoder))
    assert len(found) >= 2 * encoder.config.num_layers
    assert found[0].takes == ("input_ids", "mask_positions")
    for before, stage in pairwise(found):
        assert stage.takes == before.hands_on
        assert len(set(stage.takes) - {"mask_positions"}) == 1  # the hidden states
    assert found[-1].hands_on == ()


def test_what_a_branch_needs_is_handed_on_and_what_constants_give_is_not() -> None:
    model = ir.from_onnx_text(WITH_A_BRANCH)
    (whole,) = stages(model)  # what another graph takes must have a type
    assert whole.activations == ("twice", "first")
    ShapeInferencePass()(model)
    first, second = stages(model)
    assert (sorted(first.takes), first.activations) == (["choice", "x"], ("twice",))
    assert (sorted(second.takes), second.activations) == (["choice", "first", "other"], ("first",))


def test_kept_values_are_read_in_their_order_and_go_with_their_owner(tmp_path: Path) -> None:
    kept = KeptValues(["odd / name", "file"], tmp_path)
    for number in range(3):
        kept.append({"file": np.array([number]), "odd / name": np.eye(number + 1), "other": np.zeros(9)})
    for _ in range(2):
        read = list(kept)
        assert [values["file"].tolist() for values in read] == [[0], [1], [2]]
        assert [values["odd / name"].shape for values in read] == [(1, 1), (2, 2), (3, 3)]
        assert set(read[0]) == {"odd / name", "file"}
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    del kept
    assert list(tmp_path.iterdir()) == []
