"""Definitions of the figures that every report uses. Log-probabilities are in nats."""

import math

__all__ = ["bits_per_character", "perplexity"]


def perplexity(logprob_sum: float, count: int) -> float:
    """exp(-logprob_sum / count), infinite where it is too large for a float.

    Of targets at masks it is the masked perplexity; of all tokens of a text, each masked in turn, the
    pseudo-perplexity (Salazar et al. 2020). Over many texts, sum before dividing: a micro-average.
    """
    try:
        return math.exp(-logprob_sum / count)
    except OverflowError:
        return math.inf


def bits_per_character(logprob_sum: float, characters: int) -> float:
    """-logprob_sum / (characters * ln 2): what a character costs, whatever tokens a text is made of.

    Characters are Unicode code points of the text as it was given, blanks included.
    """
    return -logprob_sum / (characters * math.log(2))
