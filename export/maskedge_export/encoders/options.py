"""Options of configurations: those that say nothing of a model, and what a native encoder makes of the others."""

from collections.abc import Set as AbstractSet
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from maskedge_export.errors import UnsupportedModelError

__all__ = ["ALBERT", "BERT", "DISTILBERT", "ELECTRA", "ERNIE", "MODERNBERT", "ROBERTA", "SETTINGS", "Options", "names"]


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


SETTINGS = names(
    """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _experts_implementation
    _experts_implementation_internal _pre_quantization_dtype attn_implementation chunk_size_feed_forward
    compression_config deterministic_flash_attn device_map distributed_config dtype experts_implementation
    fusion_config gradient_checkpointing kernel_config output_attentions output_hidden_states output_past
    quantization_config reference_compile return_dict tf_legacy_loss torch_dtype torchscript tp_plan use_bfloat16
    use_cache use_kernels use_return_dict
    """
)
"""They say how some machine ran the model and nothing of what it computes: they are not even loaded."""

COMMON = names(
    """
    architectures bos_token_id eos_token_id id2label initializer_range is_encoder_decoder label2id problem_type
    tie_word_embeddings transformers_version
    """
)
"""Every family's, and idle, or, as of the tied embeddings, told by the weights themselves."""


@dataclass(frozen=True, slots=True)
class Options:
    """What becomes of each option that a family's configuration declares, on the way to its native encoder.

    SETTINGS and COMMON go without saying. A new release of transformers may declare others: like the fixed ones, they
    have a native form at their defaults only.
    """

    read: AbstractSet[str]
    """The encoder is made by them, or finds their weights in the checkpoint."""
    idle: AbstractSet[str]
    """Without effect on what a trained model answers."""
    fixed: AbstractSet[str] = frozenset()
    """transformers acts on them and the encoder does not: only their defaults have a native form."""

    def adding(self, read: str, idle: str = "") -> "Options":
        """The same with more of them; an option that is read is idle no longer."""
        return Options(self.read | names(read), (self.idle | names(idle)) - names(read), self.fixed)

    def check(self, config: Any) -> None:
        """Raise UnsupportedModelError, naming it, for an option of a transformers configuration without a native form.

        One that the configuration's class does not declare passes: transformers has no use for it.
        """
        if getattr(config, "is_heterogeneous", False):
            raise UnsupportedModelError("options of single layers (per_layer_config) are not supported")
        defaults = _defaults(config)
        for name in sorted(defaults.keys() - self.read - self.idle - COMMON - SETTINGS):
            if getattr(config, name) != defaults[name]:
                raise UnsupportedModelError(f"option {name} {getattr(config, name)!r} is not supported")


def _defaults(config: Any) -> dict[str, Any]:
    """What the configuration's class declares, with its defaults."""
    if not is_dataclass(config):
        return {}
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(config)
    }


BERT = Options(
    read=names(
        """
        hidden_act hidden_size intermediate_size layer_norm_eps max_position_embeddings num_attention_heads
        num_hidden_layers type_vocab_size vocab_size
        """
    ),
    idle=names("attention_probs_dropout_prob classifier_dropout hidden_dropout_prob pad_token_id"),
    fixed=names("add_cross_attention is_decoder"),
)
ERNIE = BERT.adding(read="task_type_vocab_size use_task_id")
ROBERTA = BERT.adding(read="pad_token_id")
ELECTRA = BERT.adding(
    read="embedding_size", idle="summary_activation summary_last_dropout summary_type summary_use_proj"
)
ALBERT = Options(
    read=BERT.read | names("embedding_size inner_group_num num_hidden_groups"),
    idle=names("attention_probs_dropout_prob classifier_dropout_prob hidden_dropout_prob pad_token_id"),
)
DISTILBERT = Options(
    read=names("activation dim hidden_dim max_position_embeddings n_heads n_layers vocab_size"),
    # sinusoidal: what the positions' embeddings are before any training
    idle=names("attention_dropout dropout pad_token_id qa_dropout seq_classif_dropout sinusoidal_pos_embds"),
)
MODERNBERT = Options(
    read=names(
        """
        attention_bias classifier_activation classifier_bias decoder_bias hidden_activation hidden_size
        intermediate_size layer_types local_attention max_position_embeddings mlp_bias norm_bias norm_eps
        num_attention_heads num_hidden_layers rope_parameters vocab_size
        """
    ),
    # sparse predictions are those of a loss
    idle=names(
        """
        attention_dropout classifier_dropout classifier_pooling cls_token_id embedding_dropout
        initializer_cutoff_factor mlp_dropout pad_token_id sep_token_id sparse_pred_ignore_index sparse_prediction
        """
    ),
)
