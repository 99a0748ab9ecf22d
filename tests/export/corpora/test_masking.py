"""Masking: what is masked, by what, how often; words stay whole; the same masks for the same step."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from maskedge_export.corpora.documents import Document
from maskedge_export.corpora.masking import IGNORED, Masker, Vocabulary
from maskedge_export.corpora.tokenizer import train_tokenizer
from maskedge_export.recipe import MaskingRecipe, TokenizerRecipe


@pytest.fixture(scope="module")
def texts(sentences: Path) -> list[str]:
    return sentences.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def tokenizers(texts: list[str]) -> dict[str, Any]:
    def corpus() -> Iterator[Document]:
        return ((text,) for text in texts)

    return {
        kind: train_tokenizer(corpus, TokenizerRecipe(kind=kind, vocab_size=400, min_frequency=1), 64)
        for kind in ("wordpiece", "bpe")
    }


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Any]) -> Any:
    return tokenizers[request.param]


@pytest.fixture(scope="module")
def rows(tokenizer: Any, texts: list[str]) -> np.ndarray[Any, Any]:
    """[40, 60]: texts one after another, special tokens among them."""
    ids = [token for text in texts for token in tokenizer(text)["input_ids"]]
    return np.array(ids[: 40 * 60]).reshape(40, 60)


def generator(step: int = 0) -> np.random.Generator:
    return np.random.default_rng([0, step])


def test_a_fixed_share_of_ordinary_tokens_is_masked(tokenizer: Any, rows: np.ndarray[Any, Any]) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.2, mask_share=1.0, random_share=0.0))
    masked = masker.mask(rows, generator())
    assert masked.targets.shape == (40, 12)
    assert (masked.targets == np.take_along_axis(rows, masked.mask_positions, 1)).all()
    assert not np.isin(masked.targets, tokenizer.all_special_ids).any()
    is_mask = masked.input_ids == tokenizer.mask_token_id
    assert (is_mask.sum(1) == 12).all()
    assert (masked.input_ids[~is_mask] == rows[~is_mask]).all()


def test_replacements_have_their_shares_and_are_never_special(tokenizer: Any, rows: np.ndarray[Any, Any]) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.5, mask_share=0.6, random_share=0.3))
    seen, targets = [], []
    for step in range(20):
        masked = masker.mask(rows, generator(step))
        valid = masked.targets != IGNORED
        seen.append(np.take_along_axis(masked.input_ids, masked.mask_positions, 1)[valid])
        targets.append(masked.targets[valid])
    inputs, wanted = np.concatenate(seen), np.concatenate(targets)
    others = inputs[inputs != tokenizer.mask_token_id]
    assert not np.isin(others, tokenizer.all_special_ids).any()
    assert (inputs == tokenizer.mask_token_id).mean() == pytest.approx(0.6, abs=0.02)
    assert (inputs == wanted).mean() == pytest.approx(0.1, abs=0.02)
    assert len(set(others.tolist())) > 350  # drawn from all the vocabulary


def test_masks_depend_on_the_step_and_on_nothing_else(tokenizer: Any, rows: np.ndarray[Any, Any]) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe())
    first, again, other = (masker.mask(rows, generator(step)) for step in (4, 4, 5))
    assert (first.input_ids == again.input_ids).all()
    assert (first.mask_positions != other.mask_positions).any()


def test_rows_of_few_ordinary_tokens_are_filled_up_with_ignored_targets(tokenizer: Any) -> None:
    rows = np.full((2, 10), tokenizer.sep_token_id)
    rows[0, 4] = 50
    masked = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.5)).mask(rows, generator())
    assert sorted(masked.targets[0].tolist()) == [IGNORED] * 4 + [50]
    assert (masked.targets[1] == IGNORED).all()
    assert (masked.input_ids[1] == tokenizer.sep_token_id).all()


def test_whole_words_are_masked_together(tokenizer: Any, texts: list[str]) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.3, mask_share=1, random_share=0, whole_word=True))
    plain = [text for text in texts if "'" not in text]
    masks = 0
    for step, text in enumerate(plain):
        encoding = tokenizer.backend_tokenizer.encode(text)
        masked = masker.mask(np.array([encoding.ids]), generator(step))
        chosen = masked.input_ids[0] == tokenizer.mask_token_id
        masks += chosen.sum()
        words: dict[int | None, set[bool]] = {}
        for word, is_masked in zip(encoding.word_ids, chosen.tolist(), strict=True):
            words.setdefault(word, set()).add(is_masked)
        assert all(len(states) == 1 for states in words.values())
    assert masks > 2 * len(plain)


@settings(derandomize=True, deadline=None)
@given(st.text(st.sampled_from("abcXYZ 019.,!?()-é “”\u2019—…\n"), min_size=1, max_size=60))
def test_words_are_those_of_the_tokenizer(tokenizers: dict[str, Any], text: str) -> None:
    text = re.sub(r"\s+", lambda blanks: blanks[0][0], text).rstrip()  # a run of blanks is no word
    for tokenizer in tokenizers.values():
        encoding = tokenizer.backend_tokenizer.encode(text)
        if tokenizer.unk_token_id in encoding.ids:
            continue
        words = encoding.word_ids
        expected = [i > 0 and words[i] is not None and words[i] == words[i - 1] for i in range(len(words))]
        assert Vocabulary.of(tokenizer).continues(np.array([encoding.ids]))[0].tolist() == expected


def test_bytes_of_characters_belong_to_the_words_of_their_characters(texts: list[str]) -> None:
    corpus = [("“Жил” — “да”… \u2019tis 「猫」 नमस्ते 😀!",)] * 3 + [(text,) for text in texts]
    tokenizer = train_tokenizer(lambda: corpus, TokenizerRecipe("bpe", 420, lowercase=False, min_frequency=1), 64)
    vocabulary = Vocabulary.of(tokenizer)

    def words(text: str) -> list[str]:
        encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        continued = vocabulary.continues(np.array([encoding.ids]))[0].tolist()
        starts = [index for index, joined in enumerate(continued) if not joined]
        ends = [*starts[1:], len(continued)]
        return [tokenizer.decode(encoding.ids[start:end]) for start, end in zip(starts, ends, strict=True)]

    assert words("“Жил” — “да”…") == ["“", "Жил", "”", " —", " “", "да", "”…"]
    assert words("it\u2019s\nso") == ["it", "\u2019", "s", "\n", "so"]
    assert words("a 7é“b") == ["a", " 7", "é", "“", "b"]
    assert words("नमस्ते, 😀") == ["नमस्ते", ",", " 😀"]  # its vowel signs are marks
    assert words("ok \nok") == ["ok", " ", "\n", "ok"]


def test_ids_may_have_gaps(tokenizers: dict[str, Any]) -> None:
    backend = tokenizers["wordpiece"].backend_tokenizer
    content = json.loads(backend.to_str())
    content["model"]["vocab"]["zzzz"] = 500
    gapped = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), mask_token="[MASK]")
    vocabulary = Vocabulary.of(gapped)
    assert vocabulary.ordinary.shape == vocabulary.left.shape == (501,)
    assert vocabulary.ordinary[500]
    assert not vocabulary.ordinary[400:500].any()
    assert not vocabulary.ordinary[gapped.mask_token_id]


def test_next_tokens_are_predicted_from_every_position_but_special_ones_never(
    tokenizer: Any, rows: np.ndarray[Any, Any]
) -> None:
    causal = Masker(Vocabulary.of(tokenizer), MaskingRecipe()).next_tokens(rows)
    assert causal.causal
    assert (causal.input_ids == rows).all()
    assert (causal.mask_positions == np.arange(59)).all()
    special = np.isin(rows[:, 1:], tokenizer.all_special_ids)
    assert special.any()
    assert (causal.targets[special] == IGNORED).all()
    assert (causal.targets[~special] == rows[:, 1:][~special]).all()


def test_shifted_masks_are_predicted_one_position_earlier(tokenizer: Any, rows: np.ndarray[Any, Any]) -> None:
    masked = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.9)).mask(rows, generator())
    shifted = masked.shifted()
    assert (shifted.input_ids == masked.input_ids).all()
    first = masked.mask_positions == 0
    assert first.any()
    assert (shifted.targets[first] == IGNORED).all()
    assert (shifted.mask_positions[~first] == masked.mask_positions[~first] - 1).all()
    assert (shifted.targets[~first] == masked.targets[~first]).all()
