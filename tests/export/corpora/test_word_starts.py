"""Training masks together the tokens that scoring's `whole_word` masks together."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Outputs
from maskedge.inference.batching import Query
from maskedge.inference.encoding import TextEncoder
from maskedge.inference.scoring import score_sentences
from maskedge_export.corpora.masking import Masker, Vocabulary
from maskedge_export.corpora.packing import PackedCorpus, prepare_corpus, special_tokens_around
from maskedge_export.corpora.sampling import RowSampler
from maskedge_export.recipe import CorpusRecipe, MaskingRecipe, ModelRecipe, Recipe, TokenizerRecipe

ODD_TEXTS = [
    "don't snake_case v2, well-known... \u201cquoted\u201d",
    "中文 and 日本 \U0001f44d\U0001f3fd 猫\u2026",
    "naïve cafe\u0301 हिन्दी $5.20",
    "  two\tblanks  and more ",
    "unbelievablenessfulness " * 3,
    "\x07",  # no token
]


@pytest.fixture(scope="module")
def texts(sentences: Path) -> list[str]:
    return [*ODD_TEXTS, *sentences.read_text(encoding="utf-8").splitlines()[:60]]


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta"])
def recipe(
    request: pytest.FixtureRequest,
    checkpoints: Callable[[str], Path],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Recipe:
    """WordPiece, byte-level BPE and SentencePiece."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("\n".join(texts), encoding="utf-8")
    return Recipe(
        tokenizer=TokenizerRecipe(existing=str(checkpoints(request.param))),
        corpus=CorpusRecipe(files=(str(file),), held_out=0.0),
        model=ModelRecipe(max_length=512),
        masking=MaskingRecipe(whole_word=True),
    )


@pytest.fixture(scope="module")
def corpus(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    return prepare_corpus(recipe, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def words(corpus: PackedCorpus, texts: list[str]) -> Int64Array:
    """[tokens]: the number of the word that each of the corpus's tokens is masked with while its text is scored; each
    special token has a number of its own."""
    encoder = corpus.text_encoder
    suffix = len(special_tokens_around(corpus.tokenizer)[1])
    numbers: list[int] = []
    for text in texts:
        start, first = len(numbers), len(numbers)
        for masked in sorted(masked_together(text, encoder)) if encoder.pieces(text) else ():
            assert [start + token for token in masked] == list(range(first, first + len(masked)))
            numbers += [first] * len(masked)
            first = len(numbers)
        numbers += range(first, first + suffix)
    return np.array(numbers)


def masked_together(text: str, encoder: TextEncoder) -> set[tuple[int, ...]]:
    """The tokens that each query of a text's score masks."""
    asked: set[tuple[int, ...]] = set()

    def answers(queries: Iterable[Query]) -> Iterator[Outputs]:
        for query in queries:
            masked = sorted((*query.mask_positions, *query.also_masked))
            asked.add(tuple(position - len(encoder.prefix) for position in masked))
            yield {"target_logprobs": np.zeros((len(query.mask_positions), 1), np.float32)}

    list(score_sentences([encoder.encode(text)], encoder, "whole_word", answers))
    return asked


def test_words_begin_where_scoring_s_do(corpus: PackedCorpus, words: Int64Array) -> None:
    assert corpus.word_starts is not None
    assert len(words) == len(corpus.tokens)
    assert corpus.word_starts.tolist() == [True, *(words[1:] != words[:-1]).tolist()]
    assert not corpus.word_starts.all()


def test_training_masks_together_what_scoring_masks_together(corpus: PackedCorpus, words: Int64Array) -> None:
    tokenizer = corpus.tokenizer
    prefix = tuple(special_tokens_around(tokenizer)[0])
    sampler = RowSampler(corpus.tokens, 24, prefix, None, 0, corpus.word_starts)
    rows = sampler.rows(0, 2 * sampler.rows_per_epoch)
    in_order = replace(sampler, tokens=np.arange(len(words), dtype=np.uint32))
    places = in_order.rows(0, 2 * sampler.rows_per_epoch).input_ids[:, len(prefix) :]
    masker = Masker(Vocabulary.of(tokenizer), MaskingRecipe(rate=0.4, mask_share=1, random_share=0))
    masked = masker.mask(rows, np.random.default_rng(0)).input_ids[:, len(prefix) :] == tokenizer.mask_token_id
    can_be = ~np.isin(corpus.tokens[places], tokenizer.all_special_ids)  # an unknown piece never is
    for numbers, states, possible in zip(words[places], masked, can_be, strict=True):
        for number in set(numbers.tolist()):
            assert len(set(states[(numbers == number) & possible].tolist())) <= 1
    assert masked.mean() > 0.25


def test_without_whole_words_no_word_is_noted_and_the_tokens_are_the_same(
    recipe: Recipe, corpus: PackedCorpus, tmp_path: Path
) -> None:
    plain = prepare_corpus(replace(recipe, masking=MaskingRecipe()), tmp_path)
    assert plain.word_starts is None
    assert (plain.tokens == corpus.tokens).all()
    assert plain.fingerprint != corpus.fingerprint
