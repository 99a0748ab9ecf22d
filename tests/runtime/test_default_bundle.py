"""The bundled model keeps what is promised of it: its size, the figures of its proof, sensible predictions."""

import pytest

from maskedge import Predictor


def test_it_takes_at_most_24_megabytes(english: Predictor) -> None:
    assert sum(file.size for file in english.bundle.manifest.files.values()) <= 24e6


def test_int8_is_near_fp32(english: Predictor) -> None:
    figures = english.bundle.manifest.graphs[english.precision].verification
    assert figures["passed"]
    assert figures["cells"] >= 3000
    assert figures["mean_kl"] <= 0.01
    assert figures["top1_agreement"] >= 0.95
    assert figures["intervals"]["perplexity_change"][1] <= 0.01


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Paris is the [MASK] of France.", "capital"),
        ("They stood in front [MASK] the house.", "of"),
        ("He was [MASK] in London in 1902.", "born"),
        ("The children [MASK] playing in the park.", "were"),
        ("They have two [MASK] and a daughter.", "sons"),
        ("It is one of the [MASK] cities in the world.", "largest"),
    ],
)
def test_everyday_gaps_are_filled_sensibly(english: Predictor, text: str, word: str) -> None:
    assert word in [candidate["token_str"] for candidate in english(text)[:3]]
