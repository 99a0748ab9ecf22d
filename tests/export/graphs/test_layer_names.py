"""An activation's name says what the graph multiplies it with, as running the encoder shows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from maskedge_export.encoders.families import native_encoder
from maskedge_export.graphs.layer_names import activation_name, weight_name
from maskedge_export.graphs.matmuls import separate_gemms, weight_matmuls
from maskedge_export.graphs.onnx_export import encoder_graph

pytestmark = pytest.mark.slow


@pytest.fixture(params=["bert", "modernbert"])
def encoder(request: pytest.FixtureRequest, make_model: Callable[..., Any]) -> nn.Module:
    model = make_model(request.param)
    return native_encoder(model.config, model.state_dict()).eval()


def test_every_product_is_named_after_the_weight_that_the_encoder_holds(encoder: nn.Module) -> None:
    model = encoder_graph(encoder)
    separate_gemms(model)
    for matmul in weight_matmuls(model):
        held = encoder.get_parameter(f"{weight_name(matmul.name)}.weight").detach()
        torch.testing.assert_close(torch.tensor(matmul.weight.T), held, rtol=0, atol=0)


def test_products_of_one_activation_share_a_name_that_no_other_has(encoder: nn.Module) -> None:
    model = encoder_graph(encoder)
    separate_gemms(model)
    stored: dict[str, list[str]] = {}
    for matmul in weight_matmuls(model):
        stored.setdefault(matmul.input, []).append(matmul.name)
    names = [activation_name(weights) for weights in stored.values()]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("layer ", "head: ")) for name in names)


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (["blocks.0.attention.key.weight", "blocks.0.attention.value.weight"], "layer 0: attention input (key, value)"),
        (["blocks.11.attention.query.weight.transposed"], "layer 11: attention input (query)"),
        (["blocks.3.mlp.down.weight.transposed"], "layer 3: MLP output projection input"),
        (["blocks.3.mlp.up.weight", "blocks.3.mlp.gate.weight"], "layer 3: MLP input (up, gate)"),
        (["embedding.tokens.weight"], "head: decoder input"),
        (["head.decoder.weight.plain"], "head: decoder input"),
        (["model.encoder.layer.0.query.weight.transposed"], "model.encoder.layer.0.query"),
        (["blocks.0.mlp.up.weight", "val_7"], "blocks.0.mlp.up, val_7"),
    ],
)
def test_names(weights: list[str], name: str) -> None:
    assert activation_name(weights) == name
