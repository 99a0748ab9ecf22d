"""What a word is: read off the text, the same for every tokenizer; tokens go with the word they stand for."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from unigram import SENTENCES, unigram_pieces

from maskedge.inference.words import count_words, divide, word_spans

WORDS_OF_TEXTS = {
    "He does.": ["He", "does", "."],
    "don't": ["don", "'", "t"],
    "well-known": ["well", "-", "known"],
    "  two\n\tlines  ": ["two", "lines"],
    "Wait...": ["Wait", ".", ".", "."],
    "$5.20 (about 4€)": ["$", "5", ".", "20", "(", "about", "4", "€", ")"],
    "snake_case v2": ["snake", "_", "case", "v2"],
    "中文 and 日本": ["中", "文", "and", "日", "本"],
    "naïve cafe\u0301 हिन्दी": ["naïve", "cafe\u0301", "हिन्दी"],
    "so 👍🏽 ❤\ufe0f": ["so", "👍", "🏽", "❤\ufe0f"],
    "a\x00b\u00a0c": ["a", "b", "c"],
    "x\u0301\u0302y": ["x\u0301\u0302y"],
    "👩\u200d💻 ab\u200ccd": ["👩\u200d", "💻", "ab\u200ccd"],
    "": [],
    " \n": [],
}


@pytest.mark.parametrize(("text", "words"), WORDS_OF_TEXTS.items())
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    """One token a character: then the words are those of the text."""
    assert count_words(text) == len(words)
    assert [text[start:stop] for start, stop in word_spans(text)] == words
    each_character = [(index, index + 1) for index in range(len(text))]
    found = divide(text, each_character)
    assert [text[word.start : word.stop].strip("\x00") for word in found if word.start < word.stop] == words


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    """As RoBERTa's: blanks belong to the next token, a character may be several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train(
        [str(SENTENCES)], trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


@pytest.fixture(scope="module")
def unigram() -> Tokenizer:
    """As XLM-R's: a word's blank is its first piece's or a piece of its own."""
    tokenizer = Tokenizer(models.Unigram(unigram_pieces(["<unk>"], 300), unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


@pytest.fixture(scope="module")
def unsplit(unigram: Tokenizer) -> Tokenizer:
    """The same pieces, from a tokenizer for which a whole text is one word."""
    tokenizer = Tokenizer.from_str(unigram.to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return tokenizer


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Each word's tokens in one string."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found = divide(text, encoding.offsets)
    assert [token for word in found for token in word.tokens] == list(range(len(encoding.ids)))
    return ["".join(encoding.tokens[token] for token in word.tokens) for word in found]


def test_word_pieces_words_are_the_tokenizers_own(tokenizer: Tokenizer) -> None:
    """Of every sentence of the examples, and of texts strung together from what is between and around words."""
    chance = random.Random(0)
    bits = ["don't", " ", "...", "well-known", "\n", "zebra", "(", "中文", "é", "1984", "$", "_", "water"]
    texts = ["".join(chance.choices(bits, k=20)) for _ in range(200)]
    for text in [*SENTENCES.read_text(encoding="utf-8").splitlines(), *texts]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        numbers = [number for number, word in enumerate(divide(text, encoding.offsets)) for _ in word.tokens]
        assert numbers == encoding.word_ids, text


def test_byte_level_pieces(byte_level: Tokenizer) -> None:
    assert words(byte_level, "Hi 🤖!") == ["Hi", "ĠðŁ¤ĸ", "!"]
    assert words(byte_level, "zq é xq") == ["zq", "ĠÃ©", "Ġxq"]
    assert words(byte_level, "z, q\n\nx ") == ["z", ",", "Ġq", "ĊĊxĠ"]


@pytest.mark.parametrize("name", ["unigram", "unsplit"])
def test_unigram_pieces_with_punctuation_and_lone_blanks(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    assert words(tokenizer, "zq, (xq)") == ["▁zq", ",", "▁(", "xq", ")"]
    assert words(tokenizer, "z  q") == ["▁z", "▁▁q"]
    assert words(tokenizer, "½ zq") == ["▁1\N{FRACTION SLASH}2", "▁zq"]


def test_a_tokenizers_own_words_would_not_do(unigram: Tokenizer, unsplit: Tokenizer) -> None:
    """Why the rule reads the text: SentencePiece's words keep their punctuation, or are no words at all."""
    assert set(unigram.encode("zq, (xq)").word_ids) == {0, 1}
    assert set(unsplit.encode("zq, (xq)").word_ids) == {0}


def test_a_token_of_several_words_makes_them_one() -> None:
    text = "it's so..."
    offsets = [(0, 2), (2, 4), (4, 7), (7, 9), (9, 10)]  # it 's _so .. .
    assert [(word.start, word.stop) for word in divide(text, offsets)] == [(0, 2), (2, 4), (5, 7), (7, 9), (9, 10)]
    assert count_words(text) == 7


@pytest.mark.parametrize("offsets", [[(0, 1), (1, 2)], [(0, 0), (2, 2)]])
def test_a_text_of_blanks_is_one_word(offsets: list[tuple[int, int]]) -> None:
    (word,) = divide(" \n", offsets)
    assert word.tokens == range(2)
    assert word.start <= word.stop


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", ["tokenizer", "byte_level", "unigram", "unsplit"])
def test_any_text_is_divided_without_a_rest(name: str, request: pytest.FixtureRequest, seed: int) -> None:
    any_tokenizer, chance = request.getfixturevalue(name), random.Random(seed)
    alphabet = "ab é'.-_ \n\x00\u200d\u0301中🤖½ﬁⅧ…"
    text = "".join(chance.choices(alphabet, k=40))
    offsets = any_tokenizer.encode(text, add_special_tokens=False).offsets
    found = divide(text, offsets)
    assert [token for word in found for token in word.tokens] == list(range(len(offsets)))
    assert all(word.tokens and word.start <= word.stop for word in found)
    assert len(found) <= max(1, count_words(text))
