"""A native encoder -> the directory that Hugging Face's `save_pretrained` would write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.families import checkpoint_weights, family_of
from maskedge_export.encoders.ties import biases_in_two
from maskedge_export.recipe import ModelRecipe
from maskedge_export.tokenization.saving import save_tokenizer

__all__ = ["TrainedModel", "begin_head", "new_model", "tie", "trainable"]


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """An encoder with what a checkpoint needs besides."""

    encoder: Encoder
    config: Any
    """The transformers configuration that the encoder's own comes from."""
    tokenizer: Any
    """A transformers fast tokenizer."""

    @torch.no_grad()
    def round_weights(self, dtype: torch.dtype) -> None:
        """Round the weights to what `dtype` can hold, in place."""
        for weight in self.encoder.parameters():
            weight.copy_(weight.to(dtype))

    def save(self, directory: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write configuration, weights (safetensors) and tokenizer, for `AutoModelForMaskedLM` and `AutoTokenizer`.

        Weights stored as another `dtype` are still loaded as fp32, which is what the configuration asks for.
        """
        from transformers import AutoModelForMaskedLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model = AutoModelForMaskedLM.from_config(self.config)  # type: ignore[no-untyped-call]
        weights = checkpoint_weights(self.encoder, self.config.model_type)
        # what the native encoder has no use for: the types of tokens
        others = {name: value.zero_() for name, value in model.state_dict().items() if "_type_embeddings" in name}
        for names in biases_in_two(model):  # transformers 4 reads either
            weights |= dict.fromkeys(names, next(weights[name] for name in names if name in weights))
        model.load_state_dict({**model.state_dict(), **others, **weights})
        model.to(dtype).save_pretrained(directory)
        model.config.dtype = torch.float32
        model.config.save_pretrained(directory)
        save_tokenizer(self.tokenizer, directory)


def new_model(recipe: ModelRecipe, tokenizer: Any) -> TrainedModel:
    """A model of the recipe's size with random weights, drawn from torch's generator."""
    config = _configuration(recipe, tokenizer)
    encoder = Encoder(family_of(config.model_type).config(config))
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=recipe.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    tie(encoder)
    return TrainedModel(encoder, config, tokenizer)


def trainable(checkpoint: Checkpoint) -> TrainedModel:
    """A loaded checkpoint's model, its head tied to the embedding where the checkpoint's is.

    Raises UnsupportedModelError for an architecture without a native encoder.
    """
    config: Any = checkpoint.model.config
    if config.tie_word_embeddings:
        tie(checkpoint.native())
    return TrainedModel(checkpoint.native(), config, checkpoint.tokenizer)


@torch.no_grad()
def begin_head(model: TrainedModel, counts: Tensor) -> None:
    """Give a model a new head, in place: tied to the embedding, and such that a hidden vector speaks for the tokens
    whose vectors it resembles, each as often as it is met: `counts` [vocabulary] says how often that is.

    all-MiniLM-L6-v2 begins so at 7.4 nats, about what the frequencies alone give, instead of 10.3, and finds 9 % of the
    masked tokens.
    """
    encoder, head = model.encoder, model.encoder.head
    model.config.tie_word_embeddings = True
    tie(encoder)
    project = encoder.embedding.project
    identity = torch.eye(encoder.config.hidden_size)
    head.dense.weight.copy_(torch.linalg.pinv(project.weight) if isinstance(project, nn.Linear) else identity)
    head.norm.weight.fill_(1.0)
    for bias in (head.dense.bias, head.norm.bias):
        if bias is not None:
            bias.zero_()
    if head.decoder.bias is not None:
        head.decoder.bias.copy_(((counts + 1) / (counts + 1).sum()).log())


def tie(encoder: Encoder) -> None:
    """Let the head's decoder be the token embedding (Press & Wolf 2017): fewer weights, learned sooner."""
    encoder.head.decoder.weight = encoder.embedding.tokens.weight


def _configuration(recipe: ModelRecipe, tokenizer: Any) -> Any:
    from transformers import BertConfig, ModernBertConfig

    shared = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.hidden_size,
        "num_hidden_layers": recipe.num_layers,
        "num_attention_heads": recipe.num_heads,
        "intermediate_size": recipe.intermediate_size,
        "max_position_embeddings": recipe.max_length,
        "initializer_range": recipe.initializer_range,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    if recipe.layout == "bert":
        return BertConfig(**shared, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    rope = {"rope_type": "default", "rope_theta": recipe.rope_theta}
    return ModernBertConfig(
        **shared,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        layer_types=["full_attention"] * recipe.num_layers,
        rope_parameters={"full_attention": rope, "sliding_attention": rope},
    )
