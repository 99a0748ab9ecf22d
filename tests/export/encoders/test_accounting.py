"""What logits depend on, and what a model's code makes again: held against weights that are really changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import edit_weights, make_model, save_checkpoint

from maskedge_export.encoders.accounting import depended_on
from maskedge_export.encoders.loading import load_model
from maskedge_export.encoders.trial import trial_ids

DEPENDENT = ["bart", "bert", "esm", "ibert", "luke", "modernbert", "modernvbert", "perceiver", "xmod"]


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(trial_ids(model)).logits


@pytest.mark.parametrize("family", DEPENDENT, scope="function")
def test_logits_change_with_what_they_depend_on_and_with_nothing_else(family: str) -> None:
    model = make_model(family, tie_word_embeddings=False) if family == "bert" else make_model(family)
    expected = logits(model)
    weights = dict(model.named_parameters())
    found = set(depended_on(model, weights))
    for name, weight in weights.items():
        before = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.5).add_(0.5 * torch.randn_like(weight))
        assert torch.equal(logits(model), expected) is (name not in found), name
        with torch.no_grad():
            weight.copy_(before)
    assert len(found) > 5


def test_the_others_of_some_families_are_known() -> None:
    def others(model: Any) -> set[str]:
        weights = dict(model.named_parameters())
        return set(weights) - set(depended_on(model, weights))

    assert others(make_model("bert", tie_word_embeddings=False)) == {"cls.predictions.bias"}
    assert {name.split(".")[1] for name in others(make_model("esm"))} == {"contact_head"}


def test_tracing_leaves_no_trace() -> None:
    model = make_model("bart")
    before = [weight.requires_grad for weight in model.state_dict(keep_vars=True).values()]
    assert "final_logits_bias" in depended_on(model, model.state_dict())
    assert [weight.requires_grad for weight in model.state_dict(keep_vars=True).values()] == before
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("family", ["gte", "eurobert", "jina_embeddings_v3"], scope="function")
def test_rotary_frequencies_may_be_stored_in_half_precision_but_not_be_others(
    family: str, tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    """transformers passes over what it makes again itself, whatever it holds."""
    checkpoint = make_checkpoint(family, tmp_path / family)
    model: Any = load_model(checkpoint).model
    buffers = {name: buffer for name, buffer in model.named_buffers() if name.endswith(".inv_freq")}
    name, own = next(iter(buffers.items()))
    edit_weights(checkpoint, lambda stored: {**stored, name: own.half()})
    assert load_model(checkpoint).notes == ()
    edit_weights(checkpoint, lambda stored: {**stored, name: own / 2})
    with pytest.raises(Exception, match=rf"nothing reads .* trained: {name.replace('.', '[.]')}"):
        load_model(checkpoint)


def test_a_family_that_is_saved_is_loaded_without_a_word(family: str, tmp_path: Path) -> None:
    assert load_model(save_checkpoint(family, tmp_path / family)).notes == ()
