"""How each family of Hugging Face checkpoints maps onto the native encoder: its options, and its weights' names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from maskedge_export.encoders.encoder import ACTIVATIONS, Encoder, EncoderConfig
from maskedge_export.encoders.options import (
    ALBERT,
    BERT,
    DISTILBERT,
    ELECTRA,
    ERNIE,
    MODERNBERT,
    ROBERTA,
    Options,
)
from maskedge_export.errors import UnsupportedModelError, one_line

__all__ = ["FAMILIES", "checkpoint_weights", "family_of", "native_encoder"]

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the equal parts into which a checkpoint's fused layer falls along its output."""

    module: str
    index: int
    of: int


@dataclass(frozen=True, slots=True)
class Family:
    """One family: its configuration, and for each native parameter the checkpoint names that make it up."""

    config: Callable[[Any], EncoderConfig]
    options: Options
    """What becomes of each option that the configuration's class declares."""
    stem: dict[str, str]
    """Native module -> checkpoint module, outside the layers."""
    block: str
    """Where a block's modules lie in the checkpoint; {} is its number."""
    layer: dict[str, "str | Part"]
    """Native module of a block -> checkpoint module, or a part of one."""


def _bert_config(hf: Any) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=hf.vocab_size,
        hidden_size=hf.hidden_size,
        num_layers=hf.num_hidden_layers,
        num_heads=hf.num_attention_heads,
        intermediate_size=hf.intermediate_size,
        max_length=hf.max_position_embeddings,
        pre_norm=False,
        gated_mlp=False,
        norm_eps=hf.layer_norm_eps,
        activation=hf.hidden_act,
        head_activation=hf.hidden_act,
    )


def _roberta_config(hf: Any) -> EncoderConfig:
    return replace(
        _bert_config(hf),
        max_length=hf.max_position_embeddings - hf.pad_token_id - 1,
        position_padding_id=hf.pad_token_id,
        head_activation="gelu",
    )


def _electra_config(hf: Any) -> EncoderConfig:
    return replace(
        _bert_config(hf),
        embedding_size=hf.embedding_size,
        embedding_projection=hf.embedding_size != hf.hidden_size,
        head_activation="gelu",
    )


def _albert_config(hf: Any) -> EncoderConfig:
    if hf.inner_group_num != 1 or hf.num_hidden_layers % hf.num_hidden_groups:
        raise UnsupportedModelError(
            f"ALBERT with {hf.num_hidden_layers} layers in {hf.num_hidden_groups} groups of {hf.inner_group_num} is "
            "not supported"
        )
    return replace(
        _bert_config(hf),
        num_layers=hf.num_hidden_groups,
        passes=hf.num_hidden_layers // hf.num_hidden_groups,
        embedding_size=hf.embedding_size,
        embedding_projection=True,
    )


def _distilbert_config(hf: Any) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=hf.vocab_size,
        hidden_size=hf.dim,
        num_layers=hf.n_layers,
        num_heads=hf.n_heads,
        intermediate_size=hf.hidden_dim,
        max_length=hf.max_position_embeddings,
        pre_norm=False,
        gated_mlp=False,
        norm_eps=1e-12,
        activation=hf.activation,
        head_activation=hf.activation,
    )


def _modernbert_config(hf: Any) -> EncoderConfig:
    scaled = [kind for kind in set(hf.layer_types) if hf.rope_parameters[kind]["rope_type"] != "default"]
    if scaled:
        raise UnsupportedModelError(f"scaled rotary embeddings ({', '.join(scaled)}) are not supported")
    window = {"full_attention": None, "sliding_attention": hf.sliding_window}
    if hf.mlp_bias != hf.attention_bias:
        raise UnsupportedModelError("ModernBERT with a bias in only one of attention and MLP is not supported")
    return EncoderConfig(
        vocab_size=hf.vocab_size,
        hidden_size=hf.hidden_size,
        num_layers=hf.num_hidden_layers,
        num_heads=hf.num_attention_heads,
        intermediate_size=hf.intermediate_size,
        max_length=hf.max_position_embeddings,
        pre_norm=True,
        gated_mlp=True,
        rope_thetas=tuple(float(hf.rope_parameters[kind]["rope_theta"]) for kind in hf.layer_types),
        windows=tuple(window[kind] for kind in hf.layer_types),
        norm_eps=hf.norm_eps,
        norm_bias=hf.norm_bias,
        linear_bias=hf.attention_bias,
        decoder_bias=hf.decoder_bias,
        head_dense_bias=hf.classifier_bias,
        activation=hf.hidden_activation,
        head_activation=hf.classifier_activation,
    )


def _embedding(prefix: str) -> dict[str, str]:
    return {
        "embedding.tokens": f"{prefix}.embeddings.word_embeddings",
        "embedding.positions": f"{prefix}.embeddings.position_embeddings",
        "embedding.norm": f"{prefix}.embeddings.LayerNorm",
    }


def _bert_like(prefix: str, head: dict[str, str], config: Callable[[Any], EncoderConfig], options: Options) -> Family:
    return Family(
        config=config,
        options=options,
        stem={**_embedding(prefix), **head},
        block=f"{prefix}.encoder.layer.{{}}",
        layer={
            "attention.query": "attention.self.query",
            "attention.key": "attention.self.key",
            "attention.value": "attention.self.value",
            "attention.out": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "mlp.up": "intermediate.dense",
            "mlp.down": "output.dense",
            "mlp_norm": "output.LayerNorm",
        },
    )


_BERT_HEAD = {
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head.decoder": "cls.predictions.decoder",
}
_ROBERTA_HEAD = {
    "head.dense": "lm_head.dense",
    "head.norm": "lm_head.layer_norm",
    "head.decoder": "lm_head.decoder",
}
_ELECTRA_HEAD = {
    "embedding.project": "electra.embeddings_project",
    "head.dense": "generator_predictions.dense",
    "head.norm": "generator_predictions.LayerNorm",
    "head.decoder": "generator_lm_head",
}
_ROBERTA = _bert_like("roberta", _ROBERTA_HEAD, _roberta_config, ROBERTA)

FAMILIES: dict[str, Family] = {
    "bert": _bert_like("bert", _BERT_HEAD, _bert_config, BERT),
    "ernie": _bert_like("ernie", _BERT_HEAD, _bert_config, ERNIE),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "data2vec-text": _bert_like("data2vec_text", _ROBERTA_HEAD, _roberta_config, ROBERTA),
    "electra": _bert_like("electra", _ELECTRA_HEAD, _electra_config, ELECTRA),
    "albert": Family(
        config=_albert_config,
        options=ALBERT,
        stem={
            **_embedding("albert"),
            "embedding.project": "albert.encoder.embedding_hidden_mapping_in",
            "head.dense": "predictions.dense",
            "head.norm": "predictions.LayerNorm",
            "head.decoder": "predictions.decoder",
        },
        block="albert.encoder.albert_layer_groups.{}.albert_layers.0",
        layer={
            "attention.query": "attention.query",
            "attention.key": "attention.key",
            "attention.value": "attention.value",
            "attention.out": "attention.dense",
            "attention_norm": "attention.LayerNorm",
            "mlp.up": "ffn",
            "mlp.down": "ffn_output",
            "mlp_norm": "full_layer_layer_norm",
        },
    ),
    "distilbert": Family(
        config=_distilbert_config,
        options=DISTILBERT,
        stem={
            "embedding.tokens": "distilbert.embeddings.word_embeddings",
            "embedding.positions": "distilbert.embeddings.position_embeddings",
            "embedding.norm": "distilbert.embeddings.LayerNorm",
            "head.dense": "vocab_transform",
            "head.norm": "vocab_layer_norm",
            "head.decoder": "vocab_projector",
        },
        block="distilbert.transformer.layer.{}",
        layer={
            "attention.query": "attention.q_lin",
            "attention.key": "attention.k_lin",
            "attention.value": "attention.v_lin",
            "attention.out": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "mlp.up": "ffn.lin1",
            "mlp.down": "ffn.lin2",
            "mlp_norm": "output_layer_norm",
        },
    ),
    "modernbert": Family(
        config=_modernbert_config,
        options=MODERNBERT,
        stem={
            "embedding.tokens": "model.embeddings.tok_embeddings",
            "embedding.norm": "model.embeddings.norm",
            "final_norm": "model.final_norm",
            "head.dense": "head.dense",
            "head.norm": "head.norm",
            "head.decoder": "decoder",
        },
        block="model.layers.{}",
        layer={
            "attention.query": Part("attn.Wqkv", 0, of=3),
            "attention.key": Part("attn.Wqkv", 1, of=3),
            "attention.value": Part("attn.Wqkv", 2, of=3),
            "attention.out": "attn.Wo",
            "attention_norm": "attn_norm",
            "mlp.up": Part("mlp.Wi", 0, of=2),
            "mlp.gate": Part("mlp.Wi", 1, of=2),
            "mlp.down": "mlp.Wo",
            "mlp_norm": "mlp_norm",
        },
    ),
}


def family_of(model_type: str) -> Family:
    """The family of a model type's checkpoints. Raises UnsupportedModelError for one that has no native form."""
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(f"model type {model_type!r} is not supported; supported: {known}")
    return FAMILIES[model_type]


def native_encoder(hf_config: Any, weights: Weights) -> Encoder:
    """The native encoder with a Hugging Face model's weights, in evaluation mode. The two share their memory.

    Raises UnsupportedModelError for a family, or an option of one, that has no native form.
    """
    family = family_of(hf_config.model_type)
    family.options.check(hf_config)
    config = family.config(hf_config)
    _check_sizes(config)
    for name in (config.activation, config.head_activation):
        if name not in ACTIVATIONS:
            raise UnsupportedModelError(f"activation {name!r} is not supported; supported: {', '.join(ACTIVATIONS)}")
    with torch.device("meta"):  # weights that take no memory, to be replaced
        encoder = Encoder(config)
    try:
        own = {name: _weight(name, family, weights) for name in encoder.state_dict()}
        encoder.load_state_dict(own, assign=True)
    except (KeyError, RuntimeError) as error:  # a weight that is not there, or has another shape
        raise UnsupportedModelError(f"its weights are not those that its options make: {one_line(error)}") from error
    return encoder.eval()


def _check_sizes(config: EncoderConfig) -> None:
    """Refuse what the graph has no form for: a model without a layer, or whose heads do not divide its units."""
    for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_length", "passes"):
        if getattr(config, name) < 1:
            raise UnsupportedModelError(f"a model whose {name} is {getattr(config, name)} is not supported")
    if config.hidden_size % config.num_heads:
        raise UnsupportedModelError(
            f"{config.num_heads} heads that do not divide {config.hidden_size} units are not supported"
        )


def _weight(name: str, family: Family, weights: Weights) -> Tensor:
    """The checkpoint's tensor for one native parameter."""
    source, index, of = _source(name, family)
    tensor = weights[source].chunk(of)[index]
    return _with_token_type(tensor, family, weights) if name == "embedding.positions.weight" else tensor


def _source(name: str, family: Family) -> tuple[str, int, int]:
    """The checkpoint's name for one native parameter, and which of its equal parts, of how many, that is."""
    module, kind = name.rsplit(".", 1)
    if not module.startswith("blocks."):
        return f"{family.stem[module]}.{kind}", 0, 1
    _, layer, inner = module.split(".", 2)
    source = family.layer[inner]
    part = source if isinstance(source, Part) else Part(source, 0, of=1)
    return f"{family.block.format(layer)}.{part.module}.{kind}", part.index, part.of


def _with_token_type(positions: Tensor, family: Family, weights: Weights) -> Tensor:
    """Every token is of type 0 here, as is ERNIE's task, so that type's vector is folded into the positions."""
    tokens = family.stem["embedding.tokens"]
    names = [tokens.replace("word_embeddings", f"{kind}_type_embeddings.weight") for kind in ("token", "task")]
    return sum((weights[name][0] for name in names if name in weights), start=positions)


def checkpoint_weights(encoder: Encoder, model_type: str) -> dict[str, Tensor]:
    """The encoder's weights under the names that a family's checkpoints have: `native_encoder` the other way round.

    The token types that a checkpoint may have besides are all 0: the positions hold what they gave.
    """
    family = family_of(model_type)
    native = encoder.state_dict()
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, tensor in native.items():
        target, index, _ = _source(name, family)
        pieces.setdefault(target, {})[index] = tensor
    return {name: torch.cat([parts[index] for index in sorted(parts)]) for name, parts in pieces.items()}
