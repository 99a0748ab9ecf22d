"""Attention between words, from attention between tokens.

As Clark et al. 2019 (https://aclanthology.org/W19-4828) have it: attention to a word is the sum of what its tokens get,
attention from a word the mean of what its tokens give. Special tokens around the text are no words.
"""

from collections.abc import Sequence

import numpy as np

from maskedge.arrays import Float32Array

__all__ = ["attention_between_words"]


def attention_between_words(weights: Float32Array, words: Sequence[int | None], count: int) -> Float32Array:
    """[heads, queries, keys] between tokens -> [heads, count, count] between words; zeros for a word without tokens.

    Args:
        weights: Probabilities between tokens.
        words: For each token the number of its word; None where it belongs to none.
        count: How many words there are.
    """
    belongs = np.zeros((len(words), count), np.float32)
    for token, word in enumerate(words):
        if word is not None:
            belongs[token, word] = 1
    mean = belongs / np.maximum(belongs.sum(0), 1)
    between: Float32Array = mean.T @ (weights @ belongs)
    return between
