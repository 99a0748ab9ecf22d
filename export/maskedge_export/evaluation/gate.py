"""The gate: how far a graph may be from what it was made from. A graph outside its limits is not written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from maskedge_export.evaluation.comparison import Comparison

__all__ = ["FLAGS", "GATE", "Gate", "Limits", "changed"]

FLAGS = {
    "logprob_difference": "--max-difference",
    "mean_kl": "--max-kl",
    "top1_agreement": "--min-top1",
    "perplexity_change": "--max-perplexity-change",
    "pair_agreement": "--min-pairs",
}
"""The option of `mlm-export` that changes each limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one graph may lie from what it was made from. A default asks for nothing."""

    logprob_difference: float = math.inf
    """Most of `Comparison.max_logprob_difference`, nats."""
    mean_kl: float = math.inf
    """Most mean divergence, nats."""
    top1_agreement: float = 0.0
    """Least share of masks on which it predicts the same token."""
    perplexity_change: float = math.inf
    """Most relative rise of the masked perplexity, at the upper end of its interval."""
    pair_agreement: float = 0.0
    """Least share of minimal pairs ranked the same, where the text gave any."""

    @property
    def active(self) -> dict[str, float]:
        """The limits that ask for something, by name."""
        return {field.name: limit for field in fields(self) if (limit := getattr(self, field.name)) != field.default}

    def failures(self, comparison: Comparison) -> list[str]:
        """A sentence for each limit that is not kept, which ends in the limit's flag; none where the graph passes."""
        pairs = comparison.pair_agreement
        checks = {
            "logprob_difference": (
                "largest log-probability difference",
                comparison.max_logprob_difference,
                self.logprob_difference,
            ),
            "mean_kl": ("mean KL divergence", comparison.mean_kl.value, self.mean_kl),
            "top1_agreement": ("top-1 disagreement", 1 - comparison.top1_agreement.value, 1 - self.top1_agreement),
            "perplexity_change": (
                "change in masked perplexity (upper end of its interval)",
                comparison.perplexity_change.high,
                self.perplexity_change,
            ),
            "pair_agreement": (
                "disagreement on minimal pairs",
                1 - pairs.value if pairs else 0.0,
                1 - self.pair_agreement,
            ),
        }
        return [
            f"{metric} is {value:.4g}, above its limit of {limit:.4g} ({FLAGS[name]})"
            for name, (metric, value, limit) in checks.items()
            if not value <= limit  # a NaN fails
        ]

    def describe(self) -> str:
        """The active limits in words."""
        words = {
            "logprob_difference": "log-probabilities of the target and the five best tokens within {:g} nats",
            "mean_kl": "a mean KL divergence of at most {:g} nats",
            "top1_agreement": "the same best token on at least {percent} of the masks",
            "perplexity_change": "a masked perplexity at most {percent} higher (upper end of the interval)",
            "pair_agreement": "at least {percent} of minimal pairs ranked the same",
        }
        active = [words[name].format(limit, percent=f"{100 * limit:.4g}%") for name, limit in self.active.items()]
        return ", ".join(active) or "nothing"


Gate = Mapping[str, Limits]
"""The limits of each precision: of fp32 against PyTorch, of the others against fp32."""

_CLOSE = Limits(mean_kl=0.02, top1_agreement=0.92, perplexity_change=0.02, pair_agreement=0.9)

GATE: Gate = {
    "fp32": Limits(logprob_difference=1e-3),
    "int8": _CLOSE,
    "int8-weights": _CLOSE,
    "int8-avx2": Limits(mean_kl=0.03, top1_agreement=0.9, perplexity_change=0.03, pair_agreement=0.9),
    "int4-weights": Limits(mean_kl=0.15, top1_agreement=0.75, perplexity_change=0.08, pair_agreement=0.8),
}
"""The default limits. They leave room for a model that is unsure of its predictions: rounding changes its best token
more often than a good one's. Weights of 7 bits hold less than those of 8, and weights of 4 bits are for where memory
matters more than predictions."""


def changed(gate: Gate, **limits: float | None) -> Gate:
    """The gate with other limits.

    Args:
        gate: The gate to begin with.
        limits: By the names of Limits' fields; None leaves one as it is. `logprob_difference` becomes fp32's, every
            other limit that of all quantized graphs.
    """
    of_fp32, of_quantized = (
        {name: limit for name, limit in limits.items() if limit is not None and (name == "logprob_difference") == fp32}
        for fp32 in (True, False)
    )
    return {
        name: replace(limits_of, **(of_fp32 if name == "fp32" else of_quantized)) for name, limits_of in gate.items()
    }
