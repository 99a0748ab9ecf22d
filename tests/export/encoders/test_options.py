"""Every option of every native family: read by the encoder, without effect, or a reason to have no native form.

transformers itself is the judge: a model with the option changed, and all weights the same, is asked.
"""

from copy import deepcopy
from dataclasses import fields
from typing import Any

import pytest
import torch
import transformers
from tiny_families import MAX_LENGTH, NATIVE, make_model

from maskedge_export.encoders.families import FAMILIES, native_encoder
from maskedge_export.encoders.options import BERT, COMMON, SETTINGS
from maskedge_export.errors import UnsupportedModelError

OTHERWISE: dict[str, Any] = {
    "activation": "relu",
    "architectures": ["SomethingElse"],
    "attention_bias": True,
    "attention_dropout": 0.7,
    "attention_probs_dropout_prob": 0.7,
    "bos_token_id": 9,
    "classifier_activation": "relu",
    "classifier_bias": True,
    "classifier_dropout": 0.7,
    "classifier_dropout_prob": 0.7,
    "classifier_pooling": "mean",
    "cls_token_id": 9,
    "decoder_bias": False,
    "dim": 64,
    "dropout": 0.7,
    "embedding_dropout": 0.7,
    "embedding_size": 32,
    "eos_token_id": 9,
    "hidden_act": "relu",
    "hidden_activation": "relu",
    "hidden_dim": 48,
    "hidden_dropout_prob": 0.7,
    "hidden_size": 64,
    "id2label": {0: "spam"},
    "initializer_cutoff_factor": 1.0,
    "initializer_range": 0.5,
    "inner_group_num": 2,
    "intermediate_size": 48,
    "is_encoder_decoder": True,
    "label2id": {"spam": 0},
    "layer_norm_eps": 0.1,
    "layer_types": ["sliding_attention", "full_attention"],
    "local_attention": 4,
    "max_position_embeddings": MAX_LENGTH - 4,
    "mlp_bias": True,
    "mlp_dropout": 0.7,
    "n_heads": 2,
    "n_layers": 3,
    "norm_bias": True,
    "norm_eps": 0.1,
    "num_attention_heads": 2,
    "num_hidden_groups": 1,
    "num_hidden_layers": 6,
    "pad_token_id": 3,
    "problem_type": "regression",
    "qa_dropout": 0.7,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 3.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2.0},
    },
    "sep_token_id": 9,
    "seq_classif_dropout": 0.7,
    "sinusoidal_pos_embds": True,
    "sparse_pred_ignore_index": 5,
    "sparse_prediction": True,
    "summary_activation": "relu",
    "summary_last_dropout": 0.7,
    "summary_type": "mean",
    "summary_use_proj": False,
    "task_type_vocab_size": 5,
    "tie_word_embeddings": False,
    "transformers_version": "3.0",
    "type_vocab_size": 3,
    "use_task_id": False,
    "vocab_size": 555,
}
"""Another value of each option than the tiny models have."""

WITHOUT_NATIVE_FORM = {"attention_bias", "inner_group_num", "mlp_bias"}
"""Options that are read and whose other value is refused."""


def declared(family: str) -> set[str]:
    """The options that a family's configuration declares."""
    return {field.name for field in fields(type(transformers.AutoConfig.for_model(family)))}


def test_every_option_that_a_native_family_declares_is_in_its_table(family: str) -> None:
    """A new release of transformers may declare another: read it, or show that it is idle, or fix it at its default."""
    options = FAMILIES[family].options
    assert declared(family) - SETTINGS - COMMON == options.read | options.idle | options.fixed
    assert not options.read & options.idle


@torch.no_grad()
def logits(model: Any, length: int = 30) -> torch.Tensor:
    ids = torch.arange(2 * length).reshape(2, length) % 50 + 20
    return model(ids).logits


def test_idle_options_change_no_answer(family: str) -> None:
    model = make_model(family)
    expected = logits(model)
    for option in sorted((FAMILIES[family].options.idle | COMMON) & declared(family)):
        config = deepcopy(model.config)
        assert getattr(config, option) != OTHERWISE[option], option
        setattr(config, option, OTHERWISE[option])
        other = type(model)(config).eval()
        other.load_state_dict(model.state_dict())
        assert torch.equal(logits(other), expected), option


def test_options_that_are_read_make_the_encoder_that_transformers_makes(family: str) -> None:
    before = make_model(family).config
    for option in sorted(FAMILIES[family].options.read):
        assert getattr(before, option) != OTHERWISE[option], option
        model = make_model(family, **{option: OTHERWISE[option]})
        if option in WITHOUT_NATIVE_FORM:
            with pytest.raises(UnsupportedModelError):
                native_encoder(model.config, model.state_dict())
            continue
        encoder = native_encoder(model.config, model.state_dict())
        expected = logits(model)
        ids = torch.arange(60).reshape(2, 30) % 50 + 20
        with torch.no_grad():
            actual = encoder(ids, torch.arange(30).expand(2, 30))
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4, msg=lambda why: f"{option}: {why}")  # noqa: B023


@pytest.mark.parametrize("option", sorted(BERT.fixed))
def test_an_option_that_transformers_acts_on_has_a_native_form_at_its_default_only(option: str) -> None:
    model = make_model("roberta")
    native_encoder(model.config, model.state_dict())
    setattr(model.config, option, True)
    with pytest.raises(UnsupportedModelError, match=f"option {option} True is not supported"):
        native_encoder(model.config, model.state_dict())


class LaterConfig(transformers.BertConfig):
    """What a later transformers may make of it."""

    logit_scale: float = 1.0


def test_an_option_of_a_later_transformers_has_a_native_form_at_its_default_only() -> None:
    model = make_model("bert")
    content = model.config.to_dict()
    native_encoder(LaterConfig(**content), model.state_dict())
    with pytest.raises(UnsupportedModelError, match=r"option logit_scale 0\.5 is not supported"):
        native_encoder(LaterConfig(**content, logit_scale=0.5), model.state_dict())


def test_options_of_single_layers_have_no_native_form() -> None:
    options: dict[str, Any] = {"per_layer_config": {0: {"intermediate_size": 32}}}
    config = transformers.BertConfig(num_hidden_layers=2, **options)
    with pytest.raises(UnsupportedModelError, match="per_layer_config"):
        BERT.check(config)


def test_tables_are_of_the_families_that_exist() -> None:
    assert set(NATIVE) == set(FAMILIES)
