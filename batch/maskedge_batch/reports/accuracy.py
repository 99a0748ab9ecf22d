"""How often a model preferred the good sentence, and how far that may lie from its accuracy on all such pairs.

One pair is right or wrong, so the interval of an accuracy is Wilson's (1927), which holds for few pairs too, and near 0
and 1. It takes the pairs for independent draws; those of one paradigm are cut to one pattern, so for several paradigms
together the mean of their accuracies has an interval of its own, from resamples of whole groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

__all__ = ["Accuracy", "MeanAccuracy", "mean_accuracy", "wilson"]

LEVEL = 0.95
"""Share of the samples whose interval holds the true accuracy."""
RESAMPLES = 2_000
FEWEST_GROUPS = 5
"""Fewer have no interval: their resamples hardly differ, which would look like certainty."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often the good sentence had the higher score."""

    pairs: int
    """That were scored, at least 1."""
    correct: int
    """In which the good sentence had the higher score."""
    ties: int
    """In which both had the same; they count as wrong."""

    @property
    def value(self) -> float:
        """The share of pairs that are correct."""
        return self.correct / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of 95 %."""
        return wilson(self.correct, self.pairs)


@dataclass(frozen=True, slots=True)
class MeanAccuracy:
    """The mean of groups' accuracies, in which every group counts the same."""

    value: float
    interval: tuple[float, float] | None
    """The 95 % percentile bootstrap over whole groups; None where they are too few."""


def wilson(correct: int, pairs: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927).

    Args:
        correct: How many pairs were right.
        pairs: Of how many, at least 1.
        level: Share of the samples whose interval holds the true share.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = correct / pairs
    spread = z * math.sqrt(share * (1 - share) / pairs + z**2 / (4 * pairs**2))
    centre, scale = share + z**2 / (2 * pairs), 1 + z**2 / pairs
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_accuracy(groups: Sequence[Accuracy]) -> MeanAccuracy:
    """The mean over groups, at least one; its resamples are drawn with a fixed seed."""
    accuracies = np.array([group.value for group in groups])
    value = float(accuracies.mean())
    if len(groups) < FEWEST_GROUPS:
        return MeanAccuracy(value, None)
    drawn = np.random.default_rng(0).integers(len(groups), size=(RESAMPLES, len(groups)))
    low, high = np.quantile(accuracies[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return MeanAccuracy(value, (low, high))
