"""Errors of an embedding matter as much as their Fisher information says, and leave the encoder as it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.families import native_encoder
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.quantization.fisher import embedding_fisher


@pytest.fixture(scope="module", params=["bert", "modernbert"])
def encoder(request: pytest.FixtureRequest, make_model: Callable[..., Any]) -> Encoder:
    model = make_model(request.param)
    return native_encoder(model.config, model.state_dict())


@pytest.fixture(scope="module")
def batches(masked_ids: Callable[..., Any]) -> list[MaskedBatch]:
    texts = [masked_ids(300, batch=64, length=length, masks=1) for length in (6, 9, 15)]
    return [MaskedBatch(ids.numpy(), at.numpy(), np.ones_like(at.numpy())) for ids, at in texts]


@torch.no_grad()
def divergence(encoder: Encoder, batches: list[MaskedBatch], error: torch.Tensor) -> float:
    """Sum of the predictions' KL when every token's embedding is off by the error, nats."""
    total = 0.0
    for batch in batches:
        inputs = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.mask_positions)
        expected = torch.log_softmax(encoder(*inputs).double(), -1)
        hook = encoder.embedding.tokens.register_forward_hook(
            lambda _, inputs, output: output + error * torch.randn(output.shape[:-1]).unsqueeze(-1)
        )
        torch.manual_seed(0)
        found = torch.log_softmax(encoder(*inputs).double(), -1)
        hook.remove()
        total += float((expected.exp() * (expected - found)).sum())
    return total


def test_the_fisher_information_predicts_how_far_predictions_move(encoder: Encoder, batches: list[MaskedBatch]) -> None:
    fisher = embedding_fisher(encoder, batches)
    values, vectors = np.linalg.eigh(fisher)
    for rank in (-1, -3, len(values) // 2):
        error = 0.01 * torch.from_numpy(vectors[:, rank])
        predicted = 0.5 * float(error @ torch.from_numpy(fisher) @ error)  # KL to the second order
        assert divergence(encoder, batches, error) == pytest.approx(predicted, rel=0.5)
    assert values[-1] > 3 * values[len(values) // 2]


def test_the_encoder_stays_as_it_was(encoder: Encoder, batches: list[MaskedBatch]) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    embedding_fisher(encoder, batches)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert not encoder.embedding.tokens._forward_hooks
    assert all(parameter.grad is None for parameter in encoder.parameters())
