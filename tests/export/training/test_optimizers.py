"""Optimizers: which weights each has, and how the learning rate goes."""

from itertools import pairwise

import pytest
import torch

from maskedge_export.encoders.encoder import Encoder, EncoderConfig
from maskedge_export.encoders.pretrained import tie
from maskedge_export.recipe import OptimizerRecipe, ScheduleRecipe
from maskedge_export.training.optimizers import learning_rate_factor, make_optimizers, set_learning_rate


@pytest.fixture
def encoder() -> Encoder:
    encoder = Encoder(EncoderConfig(30, 16, 2, 2, 24, 20, pre_norm=False, gated_mlp=False))
    tie(encoder)
    return encoder


def names(encoder: Encoder, optimizer: torch.optim.Optimizer) -> set[str]:
    by_id = {id(parameter): name for name, parameter in encoder.named_parameters()}
    return {by_id[id(p)] for group in optimizer.param_groups for p in group["params"]}


def test_muon_has_the_hidden_matrices_and_adamw_the_rest(encoder: Encoder) -> None:
    adamw, muon = make_optimizers(encoder, OptimizerRecipe(name="muon"))
    everything = {name for name, _ in encoder.named_parameters()}
    hidden = {
        name
        for name, parameter in encoder.named_parameters()
        if parameter.ndim == 2 and (".attention." in name or ".mlp." in name or name == "head.dense.weight")
    }
    assert names(encoder, muon) == hidden
    assert names(encoder, adamw) == everything - hidden
    assert len(hidden) == 2 * 6 + 1


def test_adamw_alone_has_all_and_only_matrices_decay(encoder: Encoder) -> None:
    (adamw,) = make_optimizers(encoder, OptimizerRecipe(name="adamw", weight_decay=0.3))
    assert names(encoder, adamw) == {name for name, _ in encoder.named_parameters()}
    for group in adamw.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.3}


@pytest.mark.parametrize("decay", ["cosine", "linear", "trapezoidal"])
def test_the_learning_rate_rises_and_falls_to_almost_nothing(decay: str) -> None:
    recipe = ScheduleRecipe(steps=100, warmup=10, decay=decay, decay_share=0.2)  # type: ignore[arg-type]
    factors = [learning_rate_factor(step, recipe) for step in range(100)]
    assert factors[:10] == [(step + 1) / 10 for step in range(10)]
    assert max(factors) == 1.0
    assert all(first >= second for first, second in pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.06
    middle = {"cosine": 0.5, "linear": 0.5, "trapezoidal": 1.0}[decay]
    assert factors[55] == pytest.approx(middle, abs=0.01)


def test_both_optimizers_follow_the_schedule(encoder: Encoder) -> None:
    optimizers = make_optimizers(encoder, OptimizerRecipe(learning_rate=0.1, muon_learning_rate=0.4))
    assert set_learning_rate(optimizers, 0.5) == pytest.approx(0.05)
    assert set_learning_rate(optimizers, 0.25) == pytest.approx(0.025)
    assert optimizers[1].param_groups[0]["lr"] == pytest.approx(0.1)
