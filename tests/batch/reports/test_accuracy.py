"""Accuracies and their intervals, against what defines them."""

import math
from fractions import Fraction
from itertools import product

import pytest

from maskedge_batch.reports.accuracy import Accuracy, mean_accuracy, wilson

Z = 1.959963984540054
"""The standard normal distribution's 97.5 % point."""


@pytest.mark.parametrize(("correct", "pairs"), [(0, 1), (1, 1), (3, 7), (20, 20), (0, 50), (731, 1000)])
def test_wilson_s_interval_ends_where_the_score_test_does(correct: int, pairs: int) -> None:
    """Its ends are the shares p that lie just z standard errors, sqrt(p (1 - p) / n), from the one that was seen."""
    share = correct / pairs
    low, high = wilson(correct, pairs)
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if end not in (0, 1):
            assert math.isclose(abs(share - end), Z * math.sqrt(end * (1 - end) / pairs), rel_tol=1e-9)
    assert low > 0 or correct == 0
    assert high < 1 or correct == pairs


def test_wilson_s_interval_is_that_of_the_literature() -> None:
    """Newcombe 1998, table I: 81 of 263 and 15 of 148 and 0 of 20."""
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611)}
    for (correct, pairs), interval in known.items():
        assert [round(end, 4) for end in wilson(correct, pairs)] == [*interval]


def test_the_mean_of_groups_counts_every_group_the_same() -> None:
    mean = mean_accuracy([Accuracy(10, 10, 0), Accuracy(1_000, 0, 0)])
    assert (mean.value, mean.interval) == (0.5, None)


def test_the_mean_s_interval_is_that_of_all_resamples_of_the_groups() -> None:
    groups = [Accuracy(10, correct, 0) for correct in (2, 5, 6, 9, 10)]
    interval = mean_accuracy(groups).interval
    assert interval is not None
    every = sorted(sum(Fraction(group.correct, 50) for group in drawn) for drawn in product(groups, repeat=5))
    exact = [float(every[round(share * len(every))]) for share in (0.025, 0.975)]
    assert all(math.isclose(end, known, abs_tol=0.025) for end, known in zip(interval, exact, strict=True))


def test_groups_that_are_alike_leave_no_doubt_and_drawing_again_gives_the_same() -> None:
    assert mean_accuracy([Accuracy(10, 5, 0)] * 6).interval == (0.5, 0.5)
    groups = [Accuracy(10, correct, 0) for correct in range(10)]
    assert mean_accuracy(groups) == mean_accuracy(groups)
