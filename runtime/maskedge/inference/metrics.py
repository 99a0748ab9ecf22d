"""Definitions of the figures that every report uses. Log-probabilities are in nats."""

import math
from collections.abc import Iterable

__all__ = ["bits_per_character", "entropy", "perplexity"]


def perplexity(logprob_sum: float, count: int) -> float:
    """exp(-logprob_sum / count), infinite where it is too large for a float.

    For targets at masks this is the masked perplexity, for all tokens of a text, each masked in turn, its
    pseudo-perplexity (Salazar et al. 2020). For many texts together, add up sums and counts first: a micro-average.
    """
    try:
        return math.exp(-logprob_sum / count)
    except OverflowError:
        return math.inf


def entropy(logprobs: Iterable[float]) -> float:
    """-sum p log p of a distribution, where 0 log 0 is 0; NaN where a log-probability is."""
    return math.fsum(-math.exp(logprob) * logprob for logprob in logprobs if logprob != -math.inf)


def bits_per_character(logprob_sum: float, characters: int) -> float:
    """-logprob_sum / (characters * ln 2): comparable between models that divide a text into different tokens.

    Characters are the Unicode code points of the text as it was given, blanks included.
    """
    return -logprob_sum / (characters * math.log(2))
