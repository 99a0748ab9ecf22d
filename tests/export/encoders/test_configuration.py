"""config.json: what says nothing of a model is set aside, and what transformers no longer does is refused by name."""

import json
from collections.abc import Callable
from inspect import getmodule, getsource
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_families import edit_config, edit_weights, save_checkpoint

from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.configuration import ABSOLUTE_POSITIONS, check_config, load_config
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.wrapped import WrappedEncoder
from maskedge_export.errors import CheckpointError, UnsupportedModelError

Weights = dict[str, torch.Tensor]


@pytest.fixture
def bert(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint of one's own, to change."""
    return make_checkpoint("bert", tmp_path / "bert")


@torch.no_grad()
def answers(path: Path) -> torch.Tensor:
    """What is exported of a checkpoint."""
    ids = torch.arange(20).reshape(2, 10) + 20
    return load_checkpoint(str(path)).encoder(ids, torch.arange(10).expand(2, 10))


def refusal(path: Path, kind: type[Exception] = UnsupportedModelError) -> str:
    with pytest.raises(kind) as caught:
        load_checkpoint(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


SETTINGS: dict[str, Any] = {
    "_attn_implementation": "flash_attention_2",
    "attn_implementation": "flash_attention_2",
    "chunk_size_feed_forward": 7,
    "dtype": "float16",
    "gradient_checkpointing": True,
    "output_attentions": True,
    "output_hidden_states": True,
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "return_dict": False,
    "torch_dtype": "bfloat16",
    "torchscript": True,
    "use_bfloat16": True,
    "use_cache": False,
}


@pytest.mark.parametrize("family", ["bert", "megatron-bert"], scope="function")
def test_settings_of_the_training_machine_change_nothing(family: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(family, tmp_path / family)
    expected = answers(checkpoint)
    settings = {name: value for name, value in SETTINGS.items() if name != "output_attentions"}  # flash has none
    assert torch.equal(answers(edit_config(checkpoint, **settings)), expected)
    config = load_config(checkpoint)
    assert (config.return_dict, config.output_attentions, config.dtype) == (True, False, None)
    assert not hasattr(config, "quantization_config")


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_is_set_aside(setting: str, bert: Path) -> None:
    before = load_config(bert).to_dict()
    assert load_config(edit_config(bert, **{setting: SETTINGS[setting]})).to_dict() == before


@pytest.mark.parametrize("options", [{"torch_dtype": "auto"}, {"quantization_config": None}, {"dtype": None}], ids=str)
def test_settings_of_any_value_are_set_aside(options: dict[str, Any], bert: Path) -> None:
    load_config(edit_config(bert, **options))


def test_settings_within_a_part_of_the_configuration_are_set_aside(tmp_path: Path) -> None:
    checkpoint = save_checkpoint("modernvbert", tmp_path / "modernvbert")
    content = json.loads((checkpoint / "config.json").read_text())
    edit_config(checkpoint, text_config={**content["text_config"], "return_dict": False, "use_cache": False})
    assert load_config(checkpoint).text_config.return_dict is True


KEPT = [{"position_embedding_type": "absolute"}, {"pruned_heads": {}}, {"is_causal": False}, {"spam": "eggs"}]


@pytest.mark.parametrize("options", KEPT, ids=str)
def test_options_that_change_nothing_pass(options: dict[str, Any], bert: Path) -> None:
    loaded = load_checkpoint(str(edit_config(bert, **options)))
    assert isinstance(loaded.encoder, Encoder)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query", "none", None])
@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "electra", "megatron-bert"], scope="function")
def test_positions_that_transformers_5_does_not_know_are_refused(family: str, kind: str | None, tmp_path: Path) -> None:
    edit_config(save_checkpoint(family, tmp_path / family), position_embedding_type=kind)
    message = refusal(tmp_path / family)
    assert f"config.json has position_embedding_type {kind!r}" in message
    assert "it would answer as if positions were absolute" in message


def test_transformers_still_does_not_know_them() -> None:
    classes = transformers.AutoModelForMaskedLM._model_mapping
    for family in ABSOLUTE_POSITIONS:
        module = getmodule(classes[type(transformers.AutoConfig.for_model(family))])
        assert module is not None
        assert "position_embedding_type" not in getsource(module), family


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_relative_positions_of_esm_are_refused(kind: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint("esm", tmp_path / "esm", position_embedding_type="absolute")
    check_config(checkpoint)
    message = refusal(edit_config(checkpoint, position_embedding_type=kind))
    assert "as if the order of tokens did not matter" in message


def test_pruned_heads_are_refused(bert: Path) -> None:
    assert "pruned_heads {'0': [1]}" in refusal(edit_config(bert, pruned_heads={"0": [1]}))


@pytest.mark.parametrize("is_decoder", [True, False])
def test_layers_that_look_at_another_models_output_are_refused(is_decoder: bool, bert: Path) -> None:
    assert "add_cross_attention true" in refusal(edit_config(bert, add_cross_attention=True, is_decoder=is_decoder))


def test_what_transformers_5_alone_takes_for_causal_is_refused(bert: Path) -> None:
    assert "is_causal true" in refusal(edit_config(bert, is_causal=True))


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"], scope="function")
def test_a_decoder_is_exported_as_transformers_has_it(family: str, tmp_path: Path) -> None:
    checkpoint = edit_config(save_checkpoint(family, tmp_path / family), is_decoder=True)
    loaded = load_checkpoint(str(checkpoint))
    assert isinstance(loaded.encoder, WrappedEncoder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint)
    ids = torch.arange(20).reshape(2, 10) + 20
    with torch.no_grad():
        expected, changed = model(ids).logits, model(torch.cat((ids[:, :6], ids[:, :4]), 1)).logits
        torch.testing.assert_close(answers(checkpoint), expected)
    torch.testing.assert_close(changed[:, :6], expected[:, :6])  # it sees nothing of what comes after
    with pytest.raises(UnsupportedModelError, match=r"not trained on: option is_decoder True is not supported"):
        loaded.native()


@pytest.mark.parametrize("name", ["num_attention_heads", "num_hidden_layers", "hidden_act"])
def test_values_that_no_model_has_are_one_line(name: str, bert: Path) -> None:
    message = refusal(edit_config(bert, **{name: "spam"}), CheckpointError)
    assert message.startswith(f"transformers cannot load {bert} as a masked language model:")


QUANTIZED: dict[str, tuple[str, torch.dtype]] = {
    "I8": ("intermediate.dense.weight", torch.int8),
    "U8": ("intermediate.dense.weight", torch.uint8),
    "F8_E4M3": ("intermediate.dense.weight", torch.float8_e4m3fn),
    "I32": ("intermediate.dense.qweight", torch.int32),
    "I64": ("intermediate.dense.bias", torch.int64),
}


@pytest.mark.parametrize("stored_as", QUANTIZED)
@pytest.mark.parametrize("family", ["bert", "megatron-bert"], scope="function")
def test_quantized_weights_are_refused(family: str, stored_as: str, tmp_path: Path) -> None:
    name, dtype = QUANTIZED[stored_as]
    name = f"bert.encoder.layer.0.{name}"

    def quantize(weights: Weights) -> Weights:
        return {**weights, name: torch.ones(64, 32).to(dtype)}

    save_checkpoint(family, tmp_path / family)
    edit_weights(edit_config(tmp_path / family, quantization_config={"quant_method": "spam"}), quantize)
    message = refusal(tmp_path / family, CheckpointError)
    assert f"holds quantized weights: {name} is stored as {stored_as} (spam)" in message


def test_double_precision_is_no_quantization(bert: Path) -> None:
    expected = answers(bert)
    edit_weights(bert, lambda weights: {name: weight.double() for name, weight in weights.items()})
    assert torch.equal(answers(bert), expected)
