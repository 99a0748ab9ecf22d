"""Masking: what is masked, by what, how often; words whole; the same masks for the same step."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from maskedge.arrays import Int64Array
from maskedge_export.corpora.documents import Document
from maskedge_export.corpora.masking import IGNORED, Masker, Vocabulary
from maskedge_export.corpora.sampling import Rows
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
def rows(tokenizer: Any, texts: list[str]) -> Rows:
    """[40, 60]: texts one after another, special tokens among them."""
    ids = [token for text in texts for token in tokenizer(text)["input_ids"]]
    return one_by_one(np.array(ids[: 40 * 60]).reshape(40, 60))


def one_by_one(ids: Int64Array) -> Rows:
    """Rows whose tokens are masked each for itself."""
    return Rows(ids, np.ones(ids.shape, np.bool_))


def generator(step: int = 0) -> np.random.Generator:
    return np.random.default_rng([0, step])


def test_a_fixed_share_of_ordinary_tokens_is_masked(tokenizer: Any, rows: Rows) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.2, mask_share=1.0, random_share=0.0))
    masked = masker.mask(rows, generator())
    assert masked.targets.shape == (40, 12)
    assert (masked.targets == np.take_along_axis(rows.input_ids, masked.mask_positions, 1)).all()
    assert not np.isin(masked.targets, tokenizer.all_special_ids).any()
    is_mask = masked.input_ids == tokenizer.mask_token_id
    assert (is_mask.sum(1) == 12).all()
    assert (masked.input_ids[~is_mask] == rows.input_ids[~is_mask]).all()


def test_replacements_have_their_shares_and_are_never_special(tokenizer: Any, rows: Rows) -> None:
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


def test_masks_depend_on_the_step_and_on_nothing_else(tokenizer: Any, rows: Rows) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe())
    first, again, other = (masker.mask(rows, generator(step)) for step in (4, 4, 5))
    assert (first.input_ids == again.input_ids).all()
    assert (first.mask_positions != other.mask_positions).any()


def test_rows_of_few_ordinary_tokens_are_filled_up_with_ignored_targets(tokenizer: Any) -> None:
    rows = np.full((2, 10), tokenizer.sep_token_id)
    rows[0, 4] = 50
    masked = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.5)).mask(one_by_one(rows), generator())
    assert sorted(masked.targets[0].tolist()) == [IGNORED] * 4 + [50]
    assert (masked.targets[1] == IGNORED).all()
    assert (masked.input_ids[1] == tokenizer.sep_token_id).all()


def test_ends_of_words_are_masked_from_any_of_their_tokens(tokenizer: Any, rows: Rows) -> None:
    ends = MaskingRecipe(rate=0.3, mask_share=1, random_share=0, whole_word=True, word_ends=True)
    masker = Masker(Vocabulary.of(tokenizer), ends)
    word_starts = np.random.default_rng(1).random(rows.input_ids.shape) < 0.5
    word_starts |= np.isin(rows.input_ids, tokenizer.all_special_ids)
    word_starts[:, 0] = True
    seen: Counter[tuple[int, int]] = Counter()
    for step in range(30):
        masked = masker.mask(Rows(rows.input_ids, word_starts), generator(step))
        is_mask = masked.input_ids == tokenizer.mask_token_id
        for row, starts in zip(is_mask, word_starts, strict=True):
            for word in np.split(row, np.flatnonzero(starts)[1:]):
                assert word.tolist() == sorted(word.tolist())  # no token is seen behind one that is masked
                seen[len(word), int(word.sum())] += 1
    for tokens in (2, 3, 4):
        counts = [seen[tokens, masks] for masks in range(1, tokens + 1)]
        assert sum(counts) > 200
        assert min(counts) > 0.7 * sum(counts) / tokens


def test_the_end_of_a_row_s_only_word_is_masked_even_where_it_is_less_than_the_share(tokenizer: Any) -> None:
    ends = MaskingRecipe(rate=0.9, mask_share=1, random_share=0, whole_word=True, word_ends=True)
    masker = Masker(Vocabulary.of(tokenizer), ends)
    ids = np.array([[50, 51, 52, *[tokenizer.sep_token_id] * 7]])
    for step in range(20):
        masked = masker.mask(Rows(ids, np.array([[True, False, False, *[True] * 7]])), generator(step))
        assert masked.input_ids[0, 2] == tokenizer.mask_token_id


def test_words_are_masked_as_a_whole_and_in_turn(tokenizer: Any, rows: Rows) -> None:
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.3, mask_share=1, random_share=0))
    word_starts = np.random.default_rng(1).random(rows.input_ids.shape) < 0.5
    word_starts[:, 0] = True
    numbers = word_starts.cumsum(1)
    often = np.zeros(rows.input_ids.shape, np.int64)
    for step in range(30):
        masked = masker.mask(Rows(rows.input_ids, word_starts), generator(step))
        is_mask = (masked.input_ids == tokenizer.mask_token_id) & (rows.input_ids != tokenizer.mask_token_id)
        ordinary = ~np.isin(rows.input_ids, tokenizer.all_special_ids)
        for row, number in np.ndindex(len(numbers), numbers.max() + 1):
            assert len(set(is_mask[row][(numbers[row] == number) & ordinary[row]].tolist())) <= 1
        assert ((masked.targets != IGNORED).sum(1) <= 18).all()
        often += is_mask
    assert often[ordinary].mean() > 0.8 * 0.3 * 30
    assert often[ordinary].min() > 0


def test_all_that_can_be_masked_is_where_a_row_has_less_than_its_share(tokenizer: Any) -> None:
    ids = np.array([[50, 51, 52] + [tokenizer.sep_token_id] * 7])
    word_starts = np.array([[True, False, False] + [False] * 7])
    masked = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.5)).mask(Rows(ids, word_starts), generator())
    assert sorted(masked.targets[0][masked.targets[0] != IGNORED].tolist()) == [50, 51, 52]


def test_ids_may_have_gaps(tokenizers: dict[str, Any]) -> None:
    backend = tokenizers["wordpiece"].backend_tokenizer
    content = json.loads(backend.to_str())
    content["model"]["vocab"]["zzzz"] = 500
    gapped = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), mask_token="[MASK]")
    vocabulary = Vocabulary.of(gapped)
    assert vocabulary.ordinary.shape == (501,)
    assert vocabulary.ordinary[500]
    assert not vocabulary.ordinary[400:500].any()
    assert not vocabulary.ordinary[gapped.mask_token_id]


def test_next_tokens_are_predicted_from_every_position_but_special_ones_never(tokenizer: Any, rows: Rows) -> None:
    causal = Masker(Vocabulary.of(tokenizer), MaskingRecipe()).next_tokens(rows.input_ids)
    assert causal.causal
    assert (causal.input_ids == rows.input_ids).all()
    assert (causal.mask_positions == np.arange(59)).all()
    special = np.isin(rows.input_ids[:, 1:], tokenizer.all_special_ids)
    assert special.any()
    assert (causal.targets[special] == IGNORED).all()
    assert (causal.targets[~special] == rows.input_ids[:, 1:][~special]).all()


def test_shifted_masks_are_predicted_one_position_earlier(tokenizer: Any, rows: Rows) -> None:
    masked = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.9)).mask(rows, generator())
    shifted = masked.shifted()
    assert (shifted.input_ids == masked.input_ids).all()
    first = masked.mask_positions == 0
    assert first.any()
    assert (shifted.targets[first] == IGNORED).all()
    assert (shifted.mask_positions[~first] == masked.mask_positions[~first] - 1).all()
    assert (shifted.targets[~first] == masked.targets[~first]).all()
