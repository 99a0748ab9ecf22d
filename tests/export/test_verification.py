"""The proof's figures are those that a hand computes, and every limit can fail."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from maskedge_export.calibration import Batch
from maskedge_export.verification import Comparison, Limits, compare, ladder_batches

PERFECT = Comparison(
    cells=100,
    max_logprob_difference=0.0,
    mean_kl=0.0,
    p99_kl=0.0,
    top1_agreement=1.0,
    reference_perplexity=40.0,
    candidate_perplexity=40.0,
)
OUTSIDE = [
    (
        "fp32",
        {"max_logprob_difference": 0.0011},
        "largest log-probability difference is 0.0011, above its limit of 0.001",
    ),
    ("int8", {"mean_kl": 0.051}, "mean KL divergence is 0.051, above its limit of 0.05"),
    ("int8", {"top1_agreement": 0.84}, "top-1 disagreement is 0.16, above its limit of 0.15"),
    ("int8", {"candidate_perplexity": 41.0}, "change in masked perplexity is 0.025, above its limit of 0.02"),
]
LIMITS = Limits(fp32_logprob_difference=0.001, int8_mean_kl=0.05, int8_top1_agreement=0.85, int8_perplexity_change=0.02)


def batch(*targets: int) -> Batch:
    """Cells of which only the targets matter."""
    column = np.array(targets)[:, np.newaxis]
    return Batch(np.zeros((len(targets), 3), np.int64), np.ones_like(column), column)


def compared(reference: list[Any], candidate: list[Any], *batches: Batch) -> Comparison:
    """The comparison of two tables of probabilities, one for each batch."""
    p, q = iter(np.log(table) for table in reference), iter(np.log(table) for table in candidate)
    return compare(lambda _: next(p), lambda _: next(q), batches)


def test_figures_of_one_cell_are_those_of_the_definitions() -> None:
    result = compared([[[0.5, 0.25, 0.25]]], [[[0.25, 0.5, 0.25]]], batch(0))
    assert result.cells == 1
    assert result.max_logprob_difference == pytest.approx(math.log(2))
    assert result.mean_kl == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert result.top1_agreement == 0
    assert result.reference_perplexity == pytest.approx(2)
    assert result.candidate_perplexity == pytest.approx(4)
    assert result.perplexity_change == pytest.approx(1.0)


def test_figures_are_means_over_cells_whatever_the_batches() -> None:
    reference = [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]
    candidate = [[0.8, 0.2], [0.4, 0.6], [0.2, 0.8]]
    together = compared([reference], [candidate], batch(0, 1, 1))
    apart = compared([reference[:1], reference[1:]], [candidate[:1], candidate[1:]], batch(0), batch(1, 1))
    assert together == apart
    second = 0.5 * math.log(0.5 / 0.4) + 0.5 * math.log(0.5 / 0.6)
    third = 0.1 * math.log(0.1 / 0.2) + 0.9 * math.log(0.9 / 0.8)
    assert together.mean_kl == pytest.approx((second + third) / 3)
    assert together.top1_agreement == pytest.approx(2 / 3)  # of equals, the first token counts as the best
    assert together.reference_perplexity == pytest.approx((0.8 * 0.5 * 0.9) ** (-1 / 3))
    assert together.candidate_perplexity == pytest.approx((0.8 * 0.6 * 0.8) ** (-1 / 3))


def test_p99_lies_among_the_worst_cells() -> None:
    reference = np.full((200, 2), 0.5)
    candidate = np.array([[0.5, 0.5]] * 197 + [[0.1, 0.9]] * 3)
    result = compared([reference], [candidate], batch(*[0] * 200))
    assert result.p99_kl == pytest.approx(0.5 * math.log(0.5 / 0.1) + 0.5 * math.log(0.5 / 0.9))
    assert result.mean_kl == pytest.approx(result.p99_kl * 3 / 200)


@pytest.mark.parametrize(("precision", "figures", "failure"), OUTSIDE)
def test_a_figure_outside_its_limit_is_named(precision: str, figures: dict[str, float], failure: str) -> None:
    assert LIMITS.failures(precision, replace(PERFECT, **figures)) == [f"{precision}: {failure}"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_figures_within_the_limits_pass(precision: str) -> None:
    at_the_limits = Comparison(100, 0.001, 0.05, 1.0, 0.85, 100.0, 101.9)
    assert LIMITS.failures(precision, PERFECT) == LIMITS.failures(precision, at_the_limits) == []


def test_a_lower_perplexity_passes() -> None:
    assert LIMITS.failures("int8", replace(PERFECT, candidate_perplexity=20.0)) == []


def test_each_precision_has_limits_of_its_own() -> None:
    bad_int8 = replace(PERFECT, mean_kl=1.0, top1_agreement=0.0, candidate_perplexity=99.0)
    assert LIMITS.failures("fp32", bad_int8) == []
    assert len(LIMITS.failures("int8", bad_int8)) == 3
    assert LIMITS.failures("int8", replace(PERFECT, max_logprob_difference=1.0)) == []


@pytest.mark.parametrize(("precision", "figures", "failure"), OUTSIDE)
def test_nan_fails(precision: str, figures: dict[str, float], failure: str) -> None:
    (found,) = LIMITS.failures(precision, replace(PERFECT, **dict.fromkeys(figures, math.nan)))
    assert "is nan" in found
    assert found.split(" is ")[0] in f"{precision}: {failure}"


def test_a_graph_that_gives_nan_fails() -> None:
    result = compared([[[0.5, 0.5]]], [[[math.nan, math.nan]]], batch(0))
    assert LIMITS.failures("fp32", result)
    assert LIMITS.failures("int8", result)


def test_ladder_tries_every_size_up_to_the_longest_text() -> None:
    ladder = ladder_batches(list(range(10, 20)), mask_id=4, max_length=100)
    lengths = [cells.input_ids.shape[1] for cells in ladder]
    assert lengths[0] == 3
    assert lengths[-1] == 100
    assert all(1 < longer / shorter <= 1.5 for shorter, longer in pairwise(lengths))
    for cells in ladder:
        at = cells.mask_positions.item()
        assert cells.input_ids[0, at] == 4
        assert np.flatnonzero(cells.input_ids[0] == 4).tolist() == [at]
        assert cells.targets.item() == 10 + at % 10
