"""Masked words: the same ones for every tokenizer, and scored as a slow, obvious reference scores them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.whole_words import MaskedWord, masked_words, plain_words, word_losses

Checkpoints = Callable[[str], Path]


@pytest.fixture(scope="module")
def texts(sentences: Path) -> list[str]:
    return sentences.read_text(encoding="utf-8").splitlines()[:60]


def words_of(checkpoint: Checkpoint, texts: list[str]) -> list[MaskedWord]:
    return masked_words(texts, checkpoint.text_encoder)


def places(words: list[MaskedWord]) -> set[tuple[str, int, int]]:
    return {(word.sentence, word.start, word.stop) for word in words}


def test_every_tokenizer_has_the_same_words(checkpoints: Checkpoints, texts: list[str]) -> None:
    found = [places(words_of(load_checkpoint(str(checkpoints(family))), texts)) for family in ("bert", "roberta")]
    assert len(found[0]) > 50
    assert found[0] == found[1]


def test_a_text_s_word_does_not_depend_on_the_other_texts(checkpoints: Checkpoints, texts: list[str]) -> None:
    checkpoint = load_checkpoint(str(checkpoints("bert")))
    assert places(words_of(checkpoint, texts[7:20])) <= places(words_of(checkpoint, texts))


def test_a_word_is_what_its_pieces_spell(checkpoints: Checkpoints, texts: list[str]) -> None:
    checkpoint = load_checkpoint(str(checkpoints("bert")))
    for word in words_of(checkpoint, texts):
        assert word.word.isalpha()
        assert word.sentence in "\n".join(texts)
        ids = [word.input_ids[piece] for piece in word.pieces]
        assert checkpoint.tokenizer.decode(ids) == word.word.lower()


@torch.no_grad()
def test_losses_are_the_chain_rule_over_pieces(loaded: Checkpoint, texts: list[str]) -> None:
    words = words_of(loaded, texts)[:25]
    mask_id = loaded.tokenizer.mask_token_id
    assert max(len(word.pieces) for word in words) > 1
    expected = []
    for word in words:
        total = 0.0
        for piece in word.pieces:
            ids = torch.tensor([word.input_ids])
            ids[0, piece : word.pieces.stop] = mask_id
            total -= float(torch.log_softmax(loaded.model(ids).logits[0, piece], -1)[word.input_ids[piece]])
        expected.append(total)
    assert isinstance(loaded.encoder, Encoder)
    assert word_losses(loaded.encoder, words, mask_id) == pytest.approx(expected, abs=1e-4, rel=0)


def test_texts_without_a_plain_word_give_none(checkpoints: Checkpoints) -> None:
    checkpoint = load_checkpoint(str(checkpoints("bert")))
    assert words_of(checkpoint, ["12 345 !", "", "-- 7"]) == []
    assert [word.word for word in words_of(checkpoint, ["7 of 9"])] == ["of"]


def test_a_word_that_the_vocabulary_lacks_is_none(checkpoints: Checkpoints) -> None:
    checkpoint = load_checkpoint(str(checkpoints("bert")))
    assert checkpoint.tokenizer.unk_token_id in checkpoint.tokenizer("漢")["input_ids"]
    assert words_of(checkpoint, ["漢", "7 漢 8"]) == []


def test_marks_belong_to_the_words_of_letters() -> None:
    text = "नमस्ते, 漢字 x2 don't"
    assert [text[start:stop] for start, stop in plain_words(text)] == ["नमस्ते", "漢", "字", "don", "t"]
