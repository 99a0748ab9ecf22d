"""What each metric of a comparison is called and how it is shown, in the model card and at the prompt."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["METRIC_LABELS", "Metrics", "without_perplexity"]

Metrics = Mapping[str, Any]
"""As `Comparison.as_dict()` gives them; `reference` may be there besides."""


def _with_interval(name: str, form: str) -> Callable[[Metrics], str]:
    """A function that shows a metric with its interval, where it has one; - where there is no such metric."""

    def show(metrics: Metrics) -> str:
        if metrics.get(name) is None:
            return "-"
        low, high = metrics["intervals"].get(name, (None, None))  # one that is infinite is null in a manifest
        interval = "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
        return f"{metrics[name]:{form}}{interval}"

    return show


def _perplexities(reference: float | None, candidate: float | None) -> str:
    return "-" if reference is None or candidate is None else f"{reference:.2f} → {candidate:.2f}"


def without_perplexity(metrics: Metrics) -> dict[str, Any]:
    """The metrics with None for perplexities: for a comparison on random tokens, of which they say nothing."""
    intervals = {name: ends for name, ends in metrics["intervals"].items() if name != "perplexity_change"}
    unknown = dict.fromkeys(("reference_perplexity", "candidate_perplexity", "perplexity_change"))
    return {**metrics, **unknown, "intervals": intervals}


METRIC_LABELS: dict[str, Callable[[Metrics], str]] = {
    "Masked tokens": lambda metrics: f"{metrics['cells']:,}",
    "Largest log-prob. difference": _with_interval("max_logprob_difference", ".2g"),
    "Mean KL divergence": _with_interval("mean_kl", ".2g"),
    "99 % of KL divergences below": _with_interval("p99_kl", ".2g"),
    "Same best token": _with_interval("top1_agreement", ".1%"),
    "Shared among the five best": _with_interval("top5_agreement", ".1%"),
    "Perplexity": lambda metrics: _perplexities(metrics["reference_perplexity"], metrics["candidate_perplexity"]),
    "Change of perplexity": _with_interval("perplexity_change", "+.2%"),
    "Minimal pairs": lambda metrics: f"{metrics['pairs']:,}",
    "Minimal pairs ranked the same": _with_interval("pair_agreement", ".1%"),
}
"""Each metric's name and the function that shows it, in parentheses its 95 % interval."""
