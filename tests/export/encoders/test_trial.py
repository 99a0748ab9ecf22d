"""A model is tried on a short text before it is exported: transformers itself runs it, and a native encoder agrees."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import MAX_LENGTH, make_model, save_checkpoint

from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.encoders import checkpoint as checkpoints_module
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.families import native_encoder
from maskedge_export.encoders.trial import check_alike, longest_text
from maskedge_export.encoders.wrapped import WrappedEncoder
from maskedge_export.errors import UnsupportedModelError


def scale_attention(model: Any) -> None:
    model.bert.encoder.layer[1].attention.self.scaling *= 2


def see_less(model: Any) -> None:
    model.config.local_attention = 12


IN_DISGUISE: list[tuple[str, dict[str, Any], Callable[[Any], None]]] = [
    ("bert", {}, scale_attention),
    ("modernbert", {"local_attention": 14}, see_less),
]


@pytest.mark.parametrize(("family", "options", "change"), IN_DISGUISE, scope="function")
def test_a_native_encoder_that_says_something_else_is_noticed(
    family: str, options: dict[str, Any], change: Callable[[Any], None]
) -> None:
    """Whatever the reason: an option of which nobody has heard, too."""
    model = make_model(family, **options)
    encoder = native_encoder(model.config, model.state_dict())
    check_alike(encoder, model)
    change(model)
    with pytest.raises(UnsupportedModelError, match=rf"native encoder of '{family}' is .* nats from what transformers"):
        check_alike(encoder, model)


def test_a_model_that_sees_backwards_only_is_noticed() -> None:
    plain, causal = make_model("bert"), make_model("bert", is_decoder=True)
    with pytest.raises(UnsupportedModelError, match="nats from what transformers says"):
        check_alike(native_encoder(plain.config, causal.state_dict()), causal)


def test_what_has_another_native_form_is_exported_as_transformers_has_it(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scaled(*arguments: Any) -> Any:
        encoder: Any = native_encoder(*arguments)
        encoder.blocks[0].attention.query.weight.data = encoder.blocks[0].attention.query.weight * 2
        return encoder

    monkeypatch.setattr(checkpoints_module, "native_encoder", scaled)
    loaded = load_checkpoint(str(make_checkpoint("bert", tmp_path / "bert")))
    assert isinstance(loaded.encoder, WrappedEncoder)


DEGENERATE: list[tuple[str, dict[str, Any], str]] = [
    ("bert", {"type_vocab_size": 0}, "transformers itself cannot run it on a text of 7 tokens"),
    ("roberta", {"type_vocab_size": 0}, "transformers itself cannot run it on a text of 7 tokens"),
    ("electra", {"num_attention_heads": 5}, "transformers itself cannot run it on a text of 7 tokens"),
    ("albert", {"num_hidden_groups": 0}, "transformers itself cannot run it on a text of 7 tokens"),
    ("roberta", {"pad_token_id": None}, "transformers itself cannot run it on a text of 7 tokens"),
    ("bert", {"max_position_embeddings": 2}, "no room for a token between two special ones"),
    ("roberta", {"max_position_embeddings": 3}, "no room for a token between two special ones"),
    ("megatron-bert", {"max_position_embeddings": 1}, "no room for a token between two special ones"),
]


@pytest.mark.parametrize(("family", "options", "reason"), DEGENERATE, ids=str, scope="function")
def test_sizes_that_transformers_cannot_run_are_one_line(
    family: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    checkpoint = save_checkpoint(family, tmp_path / "checkpoint", **options)
    with pytest.raises(UnsupportedModelError, match=rf"ForMaskedLM cannot be exported: .*{reason}") as caught:
        export_bundle(str(checkpoint), tmp_path / "bundle", ExportOptions(precision="fp32"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


NO_NATIVE_FORM: list[tuple[str, dict[str, Any]]] = [
    ("bert", {"num_hidden_layers": 0}),
    ("albert", {"num_hidden_layers": 0}),
    ("distilbert", {"n_layers": 0}),
    ("roberta", {"intermediate_size": 0}),
    ("electra", {"embedding_size": 0}),
]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("family", "options"), NO_NATIVE_FORM, ids=str, scope="function")
def test_sizes_without_a_native_form_go_the_generic_way(family: str, options: dict[str, Any], tmp_path: Path) -> None:
    loaded = load_checkpoint(str(save_checkpoint(family, tmp_path / family, **options)))
    assert isinstance(loaded.encoder, WrappedEncoder)
    ids = torch.arange(20).reshape(2, 10) + 20
    with torch.no_grad():
        actual = loaded.encoder(ids, torch.arange(10).expand(2, 10))
        torch.testing.assert_close(actual, loaded.model(ids).logits)


@pytest.mark.parametrize("longest", [3, 5])
def test_texts_shorter_than_a_trial_are_no_hindrance(longest: int, tmp_path: Path) -> None:
    loaded = load_checkpoint(str(save_checkpoint("bert", tmp_path / "bert", max_position_embeddings=longest)))
    assert loaded.max_length == longest_text(loaded.model) == longest


def test_a_number_that_says_any_length_is_none() -> None:
    model = make_model("convbert")
    model.config.max_position_embeddings = -1
    assert longest_text(model) == MAX_LENGTH  # its table's
