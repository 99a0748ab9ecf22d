"""The gate: how far a graph may be from what it was made from. A graph outside its limits is not written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from maskedge_export.verification import Comparison

__all__ = ["GATE", "Gate", "Limits", "changed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of one graph."""

    logprob_difference: float = math.inf
    """Most of `Comparison.max_logprob_difference`, nats."""
    mean_kl: float = math.inf
    """Most mean divergence, nats."""
    top1_agreement: float = 0.0
    """Least share of cells on which it predicts the same token."""
    perplexity_change: float = math.inf
    """Most relative rise of the masked perplexity, at the upper end of its interval."""
    pair_agreement: float = 0.0
    """Least share of minimal pairs ranked the same, where the text gave any."""

    def failures(self, comparison: Comparison) -> list[str]:
        """What lies outside, a sentence each; none where the graph passes."""
        pairs = comparison.pair_agreement
        checks = [
            ("largest log-probability difference", comparison.max_logprob_difference, self.logprob_difference),
            ("mean KL divergence", comparison.mean_kl.value, self.mean_kl),
            ("top-1 disagreement", 1 - comparison.top1_agreement.value, 1 - self.top1_agreement),
            (
                "change in masked perplexity (upper end of its interval)",
                comparison.perplexity_change.high,
                self.perplexity_change,
            ),
            ("disagreement on minimal pairs", 1 - pairs.value if pairs else 0.0, 1 - self.pair_agreement),
        ]
        return [
            f"{name} is {value:.4g}, above its limit of {limit:.4g}"
            for name, value, limit in checks
            if not value <= limit  # a NaN fails
        ]

    def describe(self) -> str:
        """What is asked, in words."""
        asked = []
        if math.isfinite(self.logprob_difference):
            asked.append(
                f"log-probabilities of the target and the five best tokens within {self.logprob_difference:g} nats"
            )
        if math.isfinite(self.mean_kl):
            asked.append(f"a mean KL divergence of at most {self.mean_kl:g} nats")
        if self.top1_agreement > 0:
            asked.append(f"the same best token on at least {self.top1_agreement:.0%} of the masks")
        if math.isfinite(self.perplexity_change):
            asked.append(f"a masked perplexity at most {self.perplexity_change:.0%} higher (upper end of the interval)")
        if self.pair_agreement > 0:
            asked.append(f"at least {self.pair_agreement:.0%} of minimal pairs ranked the same")
        return ", ".join(asked) or "nothing"


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
"""What is asked by default: of a model that is unsure of its predictions, rounding changes the best one more often than
of a good one. 7 bits hold less than 8, and 4 bits are for where memory matters more than predictions."""


def changed(gate: Gate, **options: float | None) -> Gate:
    """The gate with other limits for all quantized graphs; None leaves one as it is."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: limits if name == "fp32" else replace(limits, **given) for name, limits in gate.items()}
