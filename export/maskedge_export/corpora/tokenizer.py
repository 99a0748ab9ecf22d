"""The tokenizer of a new model: trained on its corpus, or taken from elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from maskedge_export.corpora.documents import Document, hash_share
from maskedge_export.corpora.word_piece import train_word_piece
from maskedge_export.encoders.checkpoint import find_checkpoint
from maskedge_export.errors import CorpusError
from maskedge_export.recipe import TokenizerRecipe
from maskedge_export.tokenization.loading import load_tokenizer

__all__ = ["existing_tokenizer", "train_tokenizer"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of tokenizer is built."""

    specials: dict[str, str | AddedToken]
    """Role -> token, in the order of their ids."""
    template: str
    """A text with its special tokens, as TemplateProcessing writes it."""


_BERT: dict[str, str | AddedToken] = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_ROBERTA: dict[str, str | AddedToken] = {
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    # the space before a mask belongs to it: what is predicted there brings its own
    "mask_token": AddedToken("<mask>", lstrip=True, special=True),
}
_WORD: dict[str, str | AddedToken] = {"unk_token": "[UNK]", "sep_token": "[SEP]", "mask_token": "[MASK]"}

KINDS = {
    "wordpiece": _Kind(_BERT, "[CLS] $A [SEP]"),
    "bpe": _Kind(_ROBERTA, "<s> $A </s>"),
    "word": _Kind(_WORD, "$A [SEP]"),
}


def train_tokenizer(read: Callable[[], Iterable[Document]], recipe: TokenizerRecipe, max_length: int) -> Any:
    """A transformers fast tokenizer, trained on a sample of the documents: of the same ones always the same.

    Args:
        read: Begins the documents anew at each call.
        recipe: The tokenizer's kind and size, and the share of the documents in the sample.
        max_length: Longest text, tokens, special ones included; noted in the tokenizer.

    Raises CorpusError where the documents are too few for a vocabulary of the recipe's size.
    """
    from transformers import PreTrainedTokenizerFast

    kind = KINDS[recipe.kind]
    train = _TRAINERS[recipe.kind]
    tokenizer = train(lambda: _sampled(read(), recipe.sample), recipe, list(kind.specials.values()))
    size = tokenizer.get_vocab_size()
    if size < recipe.vocab_size:
        sample = f"raise tokenizer.sample, now {recipe.sample:g}, " if recipe.sample < 1 else ""
        raise CorpusError(
            f"the corpus supports a vocabulary of {size} entries seen {recipe.min_frequency} times or more, fewer than "
            f"tokenizer.vocab_size {recipe.vocab_size}; lower it, {sample}or give more text"
        )
    names = {role: str(getattr(token, "content", token)) for role, token in kind.specials.items()}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=kind.template,
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names.values() if name in kind.template],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        **kind.specials,
    )


def existing_tokenizer(name_or_path: str, max_length: int) -> Any:
    """The tokenizer of a directory or Hub id, for texts of at most `max_length` tokens. Raises CheckpointError."""
    tokenizer = load_tokenizer(find_checkpoint(name_or_path))
    tokenizer.model_max_length = max_length
    return tokenizer


def _sampled(corpus: Iterable[Document], share: float) -> Iterator[str]:
    for document in corpus:
        if share == 1 or hash_share(document, "tokenizer") < share:
            yield from document


def _byte_level_bpe(read: Callable[[], Iterable[str]], recipe: TokenizerRecipe, specials: list[Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if recipe.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(read(), trainer)
    return tokenizer


def _words(read: Callable[[], Iterable[str]], recipe: TokenizerRecipe, specials: list[Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=recipe.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        special_tokens=specials,
        show_progress=False,
    )
    tokenizer.train_from_iterator(read(), trainer)
    return tokenizer


_TRAINERS = {"wordpiece": train_word_piece, "bpe": _byte_level_bpe, "word": _words}
