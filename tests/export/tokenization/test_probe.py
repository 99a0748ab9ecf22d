"""How a difference between two tokenizers is told: short, and where it is."""

from tokenizer_layouts import word_pieces
from tokenizers import Tokenizer, normalizers

from maskedge_export.tokenization.probe import first_difference


def test_of_a_long_text_what_is_around_the_difference_is_shown() -> None:
    first = word_pieces(lowercase=True)
    second = Tokenizer.from_str(first.to_str())
    second.normalizer = normalizers.BertNormalizer(lowercase=False)
    text = f"{'the sea ' * 100}Paris{' the sea' * 100}"
    found = first_difference(first, second, ["the sea", text])
    assert found is not None
    assert found.text == f"{text[:80]}..."
    assert found.first.startswith("... the sea the sea")
    assert "[UNK]" in found.second
    assert "[UNK]" not in found.first
    assert len(found.first.split()) <= 26


def test_tokenizers_that_read_alike_do_not_differ() -> None:
    first = word_pieces(lowercase=True)
    assert first_difference(first, Tokenizer.from_str(first.to_str()), ["the sea", "", "\u6771"]) is None
