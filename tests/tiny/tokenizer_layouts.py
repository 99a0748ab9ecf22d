"""Tokenizer directories as they were before tokenizer.json: vocabularies, merges and SentencePiece models alone."""

import json
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer, processors
from unigram import SENTENCES

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FAIRSEQ_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
FOREIGN = ["École française à Zürich, naïve façade.", "In 1984 it cost 12,50 or 3.14.", "東京は日本の首都です。"]
"""So that accents, digits and commas are in the vocabularies too."""

SENTENCE_PIECE_OPTIONS: dict[str, dict[str, Any]] = {
    "xlm-roberta": {},
    "albert": {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"},
    "deberta-v2": {
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "pad_piece": "[PAD]",
        "bos_piece": "[CLS]",
        "eos_piece": "[SEP]",
        "unk_piece": "[UNK]",
    },
}
"""Special pieces, as the models of each family have them."""


def layout(directory: Path, model_type: str, files: Mapping[str, str | bytes], **stated: Any) -> Path:
    """A directory of a model type with those files, and a tokenizer_config.json where something is stated."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    for name, content in files.items():
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if stated:
        (directory / "tokenizer_config.json").write_text(json.dumps(stated), encoding="utf-8")
    return directory


@cache
def texts() -> list[str]:
    """What the vocabularies are trained on."""
    return [*SENTENCES.read_text(encoding="utf-8").splitlines(), *FOREIGN * 4]


@cache
def word_pieces(*, lowercase: bool) -> Tokenizer:
    """BERT's tokenizer, as the tokenizers library makes it."""
    made = BertWordPieceTokenizer(lowercase=lowercase)
    made.train_from_iterator(texts(), vocab_size=600, special_tokens=BERT_SPECIALS, show_progress=False)
    tokenizer: Tokenizer = made._tokenizer
    return tokenizer


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """A tokenizer's tokens in the order of their ids."""
    ids: dict[str, int] = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def lines(tokens: list[str]) -> str:
    """A vocab.txt."""
    return "".join(f"{token}\n" for token in tokens)


@cache
def byte_pairs(*, add_prefix_space: bool = False) -> Tokenizer:
    """RoBERTa's tokenizer, as the tokenizers library makes it: the space before a mask belongs to the mask."""
    made = ByteLevelBPETokenizer(add_prefix_space=add_prefix_space)
    made.train_from_iterator(texts(), vocab_size=700, special_tokens=FAIRSEQ_SPECIALS, show_progress=False)
    tokenizer: Tokenizer = made._tokenizer
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, add_prefix_space)
    return tokenizer


def byte_pair_files(tokenizer: Tokenizer, scratch: Path) -> dict[str, str]:
    """Its vocab.json and merges.txt."""
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(scratch))
    return {name: (scratch / name).read_text(encoding="utf-8") for name in ("vocab.json", "merges.txt")}


@cache
def sentence_pieces(family: str, **options: Any) -> bytes:
    """A SentencePiece model of a family, trained with further options of the library."""
    model = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts()),
        model_writer=model,
        **{"vocab_size": 400, "minloglevel": 2, **SENTENCE_PIECE_OPTIONS[family], **options},
    )
    return model.getvalue()


def processor(model: bytes) -> Any:
    """The library's own splitter."""
    return SentencePieceProcessor(model_proto=model)
