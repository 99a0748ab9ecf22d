"""Definitions that every report uses."""

import math

import pytest

from maskedge.inference.metrics import perplexity


def test_perplexity_is_the_inverse_geometric_mean_probability() -> None:
    probabilities = [0.5, 0.125, 0.25]
    logprobs = [math.log(probability) for probability in probabilities]
    assert perplexity(sum(logprobs), 3) == pytest.approx(math.prod(probabilities) ** (-1 / 3))


def test_a_uniform_guess_over_n_has_perplexity_n() -> None:
    assert perplexity(10 * math.log(1 / 400), 10) == pytest.approx(400)


def test_certainty_has_perplexity_one() -> None:
    assert perplexity(0.0, 7) == 1


@pytest.mark.parametrize("logprob_sum", [-1e4, -math.inf])
def test_what_no_float_holds_is_infinite(logprob_sum: float) -> None:
    assert perplexity(logprob_sum, 1) == math.inf
