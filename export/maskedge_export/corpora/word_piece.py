"""WordPiece vocabularies: of the same text always the same one.

The library's trainer numbers the pieces that continue a word as they come out of a hash table, and by that number
chooses between pairs that are equally frequent: each run gives another vocabulary
(https://github.com/huggingface/tokenizers/issues/1794). Pieces named to it beforehand keep the order they are given.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from maskedge_export.recipe import TokenizerRecipe

__all__ = ["train_word_piece"]

LARGEST_ALPHABET = 1000
"""Characters of a vocabulary; rarer ones are unknown."""
CONTINUING = "##"
"""Begins a piece that continues a word."""


def train_word_piece(read: Callable[[], Iterable[str]], recipe: TokenizerRecipe, specials: list[Any]) -> Tokenizer:
    """BERT's tokenizer, trained on texts.

    Args:
        read: Begins the texts anew at each call; they are read twice.
        recipe: The size of the vocabulary, letter case, and how often a piece must occur.
        specials: The special tokens, in the order of their ids, which come first.
    """
    # read once for the alphabet: which characters there are, and which of them continue a word
    characters: Counter[str] = Counter()
    pieces = _vocabulary(_counted(read(), characters), recipe, vocab_size=0)  # single characters are in it all the same
    alphabet = sorted(_most_frequent(characters, recipe))
    continuing = [piece for piece in (f"{CONTINUING}{character}" for character in alphabet) if piece in pieces]
    # read again for the pieces, with the alphabet's ids given in advance, so that ties are broken the same each time
    vocabulary = _vocabulary(
        read(),
        recipe,
        vocab_size=recipe.vocab_size,
        special_tokens=[*specials, *alphabet, *continuing],  # ids in this order
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
    )
    tokenizer = _tokenizer(recipe, vocabulary)
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUING)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _tokenizer(recipe: TokenizerRecipe, vocabulary: dict[str, int] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=recipe.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _vocabulary(texts: Iterable[str], recipe: TokenizerRecipe, **options: Any) -> dict[str, int]:
    """What the library's trainer makes of the texts: piece -> id."""
    tokenizer = _tokenizer(recipe)
    trainer = trainers.WordPieceTrainer(
        min_frequency=recipe.min_frequency, continuing_subword_prefix=CONTINUING, show_progress=False, **options
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.get_vocab()


def _counted(texts: Iterable[str], characters: Counter[str]) -> Iterator[str]:
    """The texts as they are; what passes by is counted in `characters`."""
    for text in texts:
        characters.update(text)
        yield text


def _most_frequent(characters: Counter[str], recipe: TokenizerRecipe) -> list[str]:
    """The alphabet: the most frequent of what the characters are normalized to, equally frequent ones by code point."""
    normalize = _tokenizer(recipe).normalizer.normalize_str
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        counts.update({part: count for part in normalize(character) if not part.isspace()})
    return sorted(counts, key=lambda part: (-counts[part], part))[:LARGEST_ALPHABET]
