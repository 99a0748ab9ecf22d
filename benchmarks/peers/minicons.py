"""minicons, which scores sentences with masked language models: its `MaskedLMScorer`, in the sizes its pages show.

https://github.com/kanishkamisra/minicons: `sequence_score(stimuli, reduction=lambda x: x.sum(0).item())`, with the
pseudo-log-likelihood of Salazar et al. 2020 by `PLL_metric="original"`.
"""

from typing import Any

from peers.contender import SCORE, Contender, Model, Variants
from peers.transformers_4 import readable_checkpoint

__all__ = ["load", "prepare", "variants"]


def prepare(model: Model) -> None:
    """Make a checkpoint that its transformers reads."""
    readable_checkpoint(model)


def variants(model: Model) -> Variants:
    """It scores in what transformers loads."""
    return {"fp32": SCORE}


def load(model: Model, variant: str) -> Contender:
    """A scorer."""
    return Scorer(model)


class Scorer:
    """minicons' scorer."""

    def __init__(self, model: Model) -> None:
        import torch
        from minicons import scorer

        torch.set_num_threads(model.threads)
        self.scorer: Any = scorer.MaskedLMScorer(str(model.directory / "checkpoint"), "cpu")

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text, nats."""
        scores = self.scorer.sequence_score(texts, reduction=lambda x: x.sum(0).item(), PLL_metric="original")
        return [float(score) for score in scores]
