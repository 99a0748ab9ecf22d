"""The native encoder gives the logits of the transformers model it took its weights from, at the masks only."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.encoders.families import native_encoder
from maskedge_export.errors import UnsupportedModelError

TOLERANCE = 1e-4

MODERNBERT_BIASES = dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "decoder_bias", "classifier_bias"), True)


@torch.no_grad()
def at_masks(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The transformers model's logits [batch, masks, vocabulary] at the positions."""
    logits = model(ids).logits
    return torch.stack([row[at] for row, at in zip(logits, positions, strict=True)])


@torch.no_grad()
def assert_same_logits(model: Any, encoder: Any, ids: torch.Tensor, positions: torch.Tensor) -> None:
    expected, actual = at_masks(model, ids, positions), encoder(ids, positions)
    assert actual.shape == (*positions.shape, model.config.vocab_size)
    assert (actual - expected).abs().max() <= TOLERANCE
    assert expected.std() > 0.1  # else equality would say little


@pytest.mark.parametrize("length", [3, 10, 31, 48])
def test_logits_are_those_of_transformers(loaded: Checkpoint, length: int, masked_ids: Callable[..., Any]) -> None:
    ids, positions = masked_ids(loaded.encoder.config.vocab_size, length=length)
    assert_same_logits(loaded.model, loaded.encoder, ids, positions)


def test_longest_text_is_that_of_the_model(loaded: Checkpoint, max_length: int) -> None:
    assert loaded.encoder.config.max_length == loaded.max_length == max_length


def test_only_the_asked_positions_come_out_in_the_order_asked(
    loaded: Checkpoint, masked_ids: Callable[..., Any]
) -> None:
    ids, _ = masked_ids(loaded.encoder.config.vocab_size, batch=1)
    with torch.no_grad():
        everywhere = loaded.encoder(ids, torch.arange(12)[None])
        some = loaded.encoder(ids, torch.tensor([[7, 0, 7]]))
    torch.testing.assert_close(some[0], everywhere[0, [7, 0, 7]], atol=TOLERANCE, rtol=0)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("bert", {"tie_word_embeddings": False}),
    ("bert", {"hidden_act": "gelu_new"}),
    ("bert", {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    ("roberta", {"tie_word_embeddings": False}),
    ("roberta", {"hidden_act": "relu"}),
    ("roberta", {"type_vocab_size": 1}),
    ("distilbert", {"activation": "relu"}),
    ("electra", {"embedding_size": 32, "tie_word_embeddings": False}),
    ("electra", {"hidden_act": "relu"}),
    ("albert", {"num_hidden_groups": 1, "tie_word_embeddings": False}),
    ("albert", {"num_hidden_groups": 4, "embedding_size": 32, "hidden_act": "gelu"}),
    ("ernie", {"use_task_id": False}),
    ("distilbert", {"sinusoidal_pos_embds": True}),
    ("modernbert", {"tie_word_embeddings": False}),
    ("modernbert", MODERNBERT_BIASES),
    ("modernbert", {"local_attention": 2}),
    ("modernbert", {"local_attention": 6, "num_hidden_layers": 4, "global_attn_every_n_layers": 3}),
    ("modernbert", {"global_attn_every_n_layers": 1}),
    ("modernbert", {"hidden_activation": "gelu_new", "classifier_activation": "silu"}),
]


@pytest.mark.parametrize(("family", "options"), VARIANTS, ids=str, scope="function")
def test_options_of_a_family_are_taken_over(
    family: str, options: dict[str, Any], make_model: Callable[..., Any], masked_ids: Callable[..., Any]
) -> None:
    model = make_model(family, **options)
    encoder = native_encoder(model.config, model.state_dict())
    ids, positions = masked_ids(model.config.vocab_size, length=40)
    assert_same_logits(model, encoder, ids, positions)


def test_padding_tokens_inside_a_text_take_no_position_in_roberta(
    make_model: Callable[..., Any], masked_ids: Callable[..., Any]
) -> None:
    model = make_model("roberta")
    ids, positions = masked_ids(model.config.vocab_size)
    ids[:, [2, 5, 6]] = model.config.pad_token_id
    assert_same_logits(model, native_encoder(model.config, model.state_dict()), ids, positions)


@torch.no_grad()
def test_causal_attention_sees_nothing_later(loaded: Checkpoint, masked_ids: Callable[..., Any]) -> None:
    ids, _ = masked_ids(loaded.encoder.config.vocab_size, batch=2)
    changed = ids.clone()
    changed[:, 6:] = 7
    everywhere = torch.arange(12).expand(2, 12)
    first, second = (loaded.encoder(rows, everywhere, causal=True) for rows in (ids, changed))
    torch.testing.assert_close(first[:, :6], second[:, :6], atol=TOLERANCE, rtol=0)
    assert (first[:, 6:] - second[:, 6:]).abs().max() > 0.1
    assert (first[:, :5] - loaded.encoder(ids, everywhere)[:, :5]).abs().max() > 0.1


def test_attention_with_and_without_gradients_is_the_same(loaded: Checkpoint, masked_ids: Callable[..., Any]) -> None:
    """On a CPU, training takes another way through attention than evaluation."""
    ids, positions = masked_ids(loaded.encoder.config.vocab_size)
    with torch.enable_grad():
        trained = loaded.encoder(ids, positions)
    assert trained.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(trained.detach(), loaded.encoder(ids, positions), atol=TOLERANCE, rtol=0)


def test_albert_s_blocks_are_applied_many_times(make_model: Callable[..., Any]) -> None:
    model = make_model("albert", num_hidden_layers=6, num_hidden_groups=2)
    encoder = native_encoder(model.config, model.state_dict())
    assert (len(encoder.blocks), encoder.config.passes) == (2, 3)


@pytest.mark.parametrize("options", [{"inner_group_num": 2}, {"num_hidden_layers": 5}], ids=str)
def test_albert_in_uneven_groups_has_no_native_form(options: dict[str, Any], make_model: Callable[..., Any]) -> None:
    model = make_model("albert", **options)
    with pytest.raises(UnsupportedModelError, match=r"ALBERT with . layers in 2 groups of . is not supported"):
        native_encoder(model.config, model.state_dict())
