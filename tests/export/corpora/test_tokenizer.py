"""Tokenizers trained on a corpus: the library's own vocabulary, and of the same text always the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import BertWordPieceTokenizer

from maskedge_export.corpora.documents import Document
from maskedge_export.corpora.tokenizer import train_tokenizer
from maskedge_export.corpora.word_piece import LARGEST_ALPHABET
from maskedge_export.recipe import TokenizerRecipe

Read = Callable[[], list[Document]]


@pytest.fixture(scope="module")
def read(sentences: Path) -> Read:
    texts = sentences.read_text(encoding="utf-8").splitlines()
    return lambda: [(text,) for text in texts]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "word"])
def test_the_same_text_makes_the_same_tokenizer_each_time(kind: Any, read: Read) -> None:
    """With hash tables in the trainer, 10 of 10 differed."""
    recipe = TokenizerRecipe(kind, vocab_size=400, min_frequency=1)
    made = {train_tokenizer(read, recipe, 64).backend_tokenizer.to_str() for _ in range(10)}
    assert len(made) == 1


def test_a_word_piece_vocabulary_is_the_library_s_but_for_equally_frequent_pairs(read: Read, sentences: Path) -> None:
    ours = train_tokenizer(read, TokenizerRecipe(vocab_size=1000), 64).get_vocab()
    theirs = BertWordPieceTokenizer(lowercase=True)
    theirs.train([str(sentences)], vocab_size=1000, show_progress=False)
    assert len(ours) == 1000
    assert len(ours.keys() - theirs.get_vocab().keys()) <= 20  # the library's own runs differ by 3 or 4
    in_order = sorted(ours, key=ours.__getitem__)
    assert in_order[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert in_order[5:].index("z") < in_order[5:].index("##a") < in_order[5:].index("the")


@pytest.mark.parametrize(("lowercase", "letters"), [(True, {"e", "##e"}), (False, {"É", "##é"})])
def test_the_alphabet_is_of_characters_as_they_are_normalized(lowercase: bool, letters: set[str]) -> None:
    tokenizer = train_tokenizer(lambda: [("Éé",)] * 3, TokenizerRecipe(vocab_size=8, lowercase=lowercase), 64)
    assert tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens) >= letters
    assert tokenizer.decode(tokenizer("Éé", add_special_tokens=False)["input_ids"]) == ("ee" if lowercase else "Éé")


def test_the_rarest_of_too_many_characters_are_unknown() -> None:
    often, once = ([chr(0x4E00 + start + index) for index in range(600)] for start in (600, 0))
    tokenizer = train_tokenizer(lambda: [(" ".join(often * 2 + once),)], TokenizerRecipe(vocab_size=100), 64)
    known = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    assert known == {*often, *once[: LARGEST_ALPHABET - 600]}
