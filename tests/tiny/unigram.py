"""A SentencePiece-like vocabulary of the example sentences; the library's trainer makes another one each time."""

import math
from collections import Counter
from pathlib import Path

SENTENCES = Path(__file__).parents[2] / "examples" / "sentences.txt"
LONGEST = 8
"""Characters of a piece."""


def unigram_pieces(specials: list[str], size: int) -> list[tuple[str, float]]:
    """Special tokens, every character, and the parts of words that cover most text, with their log-probabilities."""
    counts = Counter(
        word[start:stop]
        for word in (f"▁{word}" for word in SENTENCES.read_text(encoding="utf-8").split())
        for start in range(len(word))
        for stop in range(start + 1, min(start + LONGEST, len(word)) + 1)
    )
    by_cover = sorted(counts, key=lambda piece: (len(piece) > 1, -counts[piece] * len(piece), piece))
    kept = by_cover[: size - len(specials)]
    total = sum(counts[piece] for piece in kept)
    return [*((special, 0.0) for special in specials), *((piece, math.log(counts[piece] / total)) for piece in kept)]
