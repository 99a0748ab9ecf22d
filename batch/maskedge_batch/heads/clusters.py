"""Heads that look at the same places: distances between heads, and groups of near ones."""

import numpy as np

from maskedge import Attention
from maskedge.arrays import Float32Array, Float64Array

__all__ = ["HeadDistances", "cluster"]


class HeadDistances:
    """The mean Jensen-Shannon divergence of two heads' attention, nats, over the queries of texts that pass by.

    As Clark et al. 2019 compare heads: 0 where they look alike, ln 2 where they never look at the same place.
    """

    def __init__(self, heads: int) -> None:
        self.queries = 0
        self._sums = np.zeros((heads, heads))

    def add(self, attention: Attention) -> None:
        """Takes in a text."""
        length = len(attention.tokens)
        weights: Float32Array = attention.weights.reshape(-1, length, length)
        own = _entropy(weights)  # [heads, queries]
        for head, one in enumerate(weights):
            mixed = _entropy(np.float32(0.5) * (weights[head:] + one))
            self._sums[head, head:] += (mixed - (own[head:] + own[head]) / 2).sum(-1)
        self.queries += length

    def means(self) -> Float64Array:
        """[heads, heads], symmetric."""
        upper = np.maximum(self._sums, 0) / max(self.queries, 1)
        return np.asarray(np.triu(upper) + np.triu(upper, 1).T)


def cluster(distances: Float64Array, count: int) -> list[int]:
    """Which of `count` groups each head is in, by average linkage: the two groups that are nearest in the mean become
    one until so many are left. Groups are numbered from 0, the largest first."""
    groups = [[head] for head in range(len(distances))]
    while len(groups) > max(count, 1):
        pairs = ((i, j) for i in range(len(groups)) for j in range(i))
        i, j = min(pairs, key=lambda pair: float(distances[np.ix_(groups[pair[0]], groups[pair[1]])].mean()))
        groups[j] += groups.pop(i)
    groups.sort(key=lambda group: (-len(group), min(group)))
    numbers = {head: number for number, group in enumerate(groups) for head in group}
    return [numbers[head] for head in range(len(distances))]


def _entropy(weights: Float32Array) -> Float32Array:
    entropy: Float32Array = -(weights * np.log(np.maximum(weights, np.finfo(np.float32).tiny))).sum(-1)
    return entropy
