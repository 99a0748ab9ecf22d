"""Tiny checkpoints of every family of masked language models that transformers knows, with random weights."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer, decoders, models, pre_tokenizers, processors
from unigram import SENTENCES, unigram_pieces

from maskedge_export.corpora.tokenizer import train_tokenizer
from maskedge_export.recipe import TokenizerRecipe

__all__ = [
    "FAMILIES",
    "GENERIC",
    "MAX_LENGTH",
    "NATIVE",
    "REFUSED",
    "SENTENCES",
    "make_model",
    "make_tokenizer",
    "save_checkpoint",
]

MAX_LENGTH = 48
"""Longest text, tokens."""

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_LENGTH,
}
PADDED = {**SIZES, "max_position_embeddings": MAX_LENGTH + 2}
"""For the families that count positions from the padding token's id + 1."""
ONE_LAYER = {**SIZES, "num_hidden_layers": 1}
"""Tracing transformers' own code takes seconds a layer, and its layers are all alike."""
ONE_PADDED = {**PADDED, "num_hidden_layers": 1}
XLM = {"emb_dim": 32, "n_layers": 1, "n_heads": 4, "max_position_embeddings": MAX_LENGTH}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": MAX_LENGTH,
}
VISION = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
MODERN = {**SIZES, "global_attn_every_n_layers": 2, "local_attention": 8}

NATIVE: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": PADDED,
    "xlm-roberta": PADDED,
    "camembert": PADDED,
    "data2vec-text": PADDED,
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_position_embeddings": MAX_LENGTH,
    },
    "electra": {**SIZES, "embedding_size": 16},
    "albert": {**SIZES, "num_hidden_layers": 4, "num_hidden_groups": 2, "embedding_size": 16},
    "ernie": {**SIZES, "use_task_id": True},
    "modernbert": MODERN,
}
"""Options of the families that have a native encoder."""

GENERIC: dict[str, dict[str, Any]] = {
    "bart": SEQ2SEQ,
    "big_bird": {**ONE_LAYER, "block_size": 8, "num_random_blocks": 1},
    "convbert": {**ONE_LAYER, "embedding_size": 32, "conv_kernel_size": 3},
    "deberta": {**ONE_LAYER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **ONE_LAYER,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "conv_kernel_size": 3,
        "position_biased_input": False,
    },
    "esm": {**ONE_PADDED, "position_embedding_type": "rotary", "token_dropout": True},
    "esmc": ONE_LAYER,
    "eurobert": ONE_LAYER,
    "flaubert": XLM,
    "fnet": {**ONE_LAYER, "tpu_short_seq_length": MAX_LENGTH},
    "gte": ONE_LAYER,
    "ibert": ONE_PADDED,
    "jina_embeddings_v3": {**ONE_PADDED, "lora_rank": 2},
    "layoutlm": ONE_LAYER,
    "luke": {**ONE_PADDED, "entity_vocab_size": 10},
    "megatron-bert": ONE_LAYER,
    "mobilebert": {
        **ONE_LAYER,
        "embedding_size": 16,
        "intra_bottleneck_size": 16,
        "true_hidden_size": 16,
        "num_feedforward_networks": 2,
    },
    "modernvbert": {
        "text_config": {"model_type": "modernbert", **MODERN, "num_hidden_layers": 1},
        "vision_config": VISION,
    },
    "mpnet": ONE_PADDED,
    "mvp": SEQ2SEQ,
    "neomme": ONE_LAYER,
    "nomic_bert": ONE_LAYER,
    "nystromformer": ONE_LAYER,
    "perceiver": {
        "d_latents": 32,
        "d_model": 32,
        "num_latents": 8,
        "num_self_attends_per_block": 1,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "max_position_embeddings": MAX_LENGTH,
    },
    "rembert": {**ONE_LAYER, "input_embedding_size": 16, "output_embedding_size": 24},
    "roberta-prelayernorm": ONE_PADDED,
    "roc_bert": {**ONE_LAYER, "pronunciation_vocab_size": 20, "shape_vocab_size": 20},
    "roformer": {**ONE_LAYER, "embedding_size": 32},
    "squeezebert": {**ONE_LAYER, "embedding_size": 32},
    "tapas": ONE_LAYER,
    "ultrabert": ONE_LAYER,
    "ultravbert": {"text_config": {"model_type": "ultrabert", **ONE_LAYER}, "vision_config": VISION},
    "xlm": XLM,
    "xlm-roberta-xl": ONE_PADDED,
    "xmod": {**ONE_PADDED, "languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": ONE_LAYER,
}
"""Options of those that are exported as transformers has them."""

REFUSED: dict[str, dict[str, Any]] = {
    "funnel": {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]},
    "mbart": SEQ2SEQ,
    "longformer": {**ONE_PADDED, "attention_window": 8},
    "mra": ONE_LAYER,
    "reformer": {
        "hidden_size": 32,
        "attention_head_size": 8,
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [6, 8],
        "axial_pos_embds_dim": [16, 16],
        "feed_forward_size": 64,
        "is_decoder": False,
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
        "max_position_embeddings": MAX_LENGTH,
    },
}
"""Options of those that cannot be exported."""

FAMILIES = {**NATIVE, **GENERIC, **REFUSED}


def make_model(family: str, **options: Any) -> Any:
    """A family's model, with weights large enough for its predictions to differ from place to place."""
    tokenizer = make_tokenizer(family)
    known = {"vocab_size": len(tokenizer), **special_ids(tokenizer)}
    config = _configuration(family, known, {**FAMILIES[family], **options})
    torch.manual_seed(0)
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def save_checkpoint(family: str, directory: Path, **options: Any) -> Path:
    """A family's model and tokenizer, saved in a directory."""
    make_model(family, **options).save_pretrained(directory)
    make_tokenizer(family).save_pretrained(directory)
    return directory


def edit_config(directory: Path, **options: Any) -> Path:
    """Write options into a checkpoint's config.json, whatever they are."""
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))
    return directory


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """Store what a function makes of a checkpoint's weights in their place."""
    file = directory / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    return directory


def _configuration(family: str, known: dict[str, Any], options: dict[str, Any]) -> Any:
    if "text_config" in options:
        options = {**options, "text_config": {**known, **options["text_config"]}}
    return transformers.AutoConfig.for_model(family, **{**known, **options})


def special_ids(tokenizer: Any) -> dict[str, int | None]:
    """The ids that configurations name."""
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "mask_token_id": tokenizer.mask_token_id,
    }


@cache
def make_tokenizer(family: str) -> Any:
    """A tokenizer of the family's kind, trained on the example sentences."""
    if family in ("roberta", "data2vec-text"):
        return _byte_level_bpe()
    return _unigram() if family in ("xlm-roberta", "camembert", "albert") else _word_piece()


def _word_piece() -> Any:
    texts = [(text,) for text in SENTENCES.read_text(encoding="utf-8").splitlines()]
    trained = train_tokenizer(lambda: texts, TokenizerRecipe(vocab_size=400), MAX_LENGTH)
    return transformers.BertTokenizer(vocab=trained.get_vocab(), model_max_length=MAX_LENGTH)


def _byte_level_bpe() -> Any:
    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train([str(SENTENCES)], vocab_size=500, special_tokens=specials, show_progress=False)
    trained.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, **_roberta_specials())


def _unigram() -> Any:
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = Tokenizer(models.Unigram(unigram_pieces(specials, 300), unk_id=specials.index("<unk>")))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.decoder = decoders.Metaspace()
    trained.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=trained, **_roberta_specials())


def _roberta_specials() -> dict[str, Any]:
    return {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": AddedToken("<mask>", lstrip=True, special=True),
        "model_max_length": MAX_LENGTH,
    }
