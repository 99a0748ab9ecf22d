"""What heads look at in plain text, summed up while texts pass by.

Of each head, over all queries that are tokens of a text (special tokens around it are looked at, and not asked):

- `previous`, `next`, `self`    the probability at the token before, after, and at the query itself
- `same`         at other places with the same token
- `first`        at the special tokens before the text, such as [CLS]; `separator`: at those behind it
- `punctuation`  at tokens that are nothing but punctuation
- `distance`     mean distance in tokens of what is looked at within the text
- `entropy`      of the distribution, nats: low where a head looks at few places
- `confidence`   the greatest probability of a query, in the mean (Voita et al. 2019)
"""

import unicodedata
from collections.abc import Mapping

import numpy as np

from maskedge import Attention
from maskedge.arrays import Float32Array, Float64Array

__all__ = ["ROLES", "RoleSums"]

ROLES = (
    "previous",
    "next",
    "self",
    "same",
    "first",
    "separator",
    "punctuation",
    "distance",
    "entropy",
    "confidence",
)


class RoleSums:
    """Sums over the queries of texts. Uniform attention is measured beside the heads, as what no head would do."""

    def __init__(self, layers: int, heads: int) -> None:
        self.queries = 0
        self._shape = layers, heads
        self._sums = {role: np.zeros(layers * heads + 1) for role in ROLES}

    def add(self, attention: Attention) -> None:
        """Takes in a text."""
        length = len(attention.tokens)
        inside = [place for place, word in enumerate(attention.words) if word is not None]
        if not inside:
            return
        weights = attention.weights.reshape(-1, length, length)
        weights = np.concatenate([weights, np.full((1, length, length), 1 / length, np.float32)])
        text = slice(inside[0], inside[-1] + 1)
        for role, values in _roles(attention, weights[:, text], text).items():
            self._sums[role] += values.sum(-1, dtype=np.float64)
        self.queries += text.stop - text.start

    def means(self) -> Mapping[str, Float64Array]:
        """Of each role [layers, heads]."""
        return {role: sums[:-1].reshape(self._shape) / max(self.queries, 1) for role, sums in self._sums.items()}

    def uniform(self) -> Mapping[str, float]:
        """What attention would show that looks at all tokens alike."""
        return {role: float(sums[-1]) / max(self.queries, 1) for role, sums in self._sums.items()}


def _roles(attention: Attention, weights: Float32Array, text: slice) -> dict[str, Float32Array]:
    """Each role's value [heads, queries] for the text's queries; `weights` are [heads, queries, keys]."""
    places, keys = np.arange(text.start, text.stop), np.arange(len(attention.tokens))
    ids = np.array(attention.token_ids)
    offset = keys - places[:, None]  # [queries, keys]
    within = (keys >= text.start) & (keys < text.stop)
    punctuation = np.array([_is_punctuation(token) for token in attention.tokens]) & within
    looked_at = weights * within
    distance = (looked_at * np.abs(offset)).sum(-1) / np.maximum(looked_at.sum(-1), np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(weights, np.finfo(np.float32).tiny))
    return {
        "previous": (weights * (offset == -1)).sum(-1),
        "next": (weights * (offset == 1)).sum(-1),
        "self": (weights * (offset == 0)).sum(-1),
        "same": (weights * ((ids == ids[places][:, None]) & (offset != 0) & within)).sum(-1),
        "first": weights[:, :, : text.start].sum(-1),
        "separator": weights[:, :, text.stop :].sum(-1),
        "punctuation": (weights * punctuation).sum(-1),
        "distance": distance,
        "entropy": -(weights * logs).sum(-1),
        "confidence": weights.max(-1),
    }


def _is_punctuation(token: str) -> bool:
    plain = token.removeprefix("##").strip()
    return bool(plain) and all(unicodedata.category(character)[0] == "P" for character in plain)
