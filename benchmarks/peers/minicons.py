"""minicons, which scores sentences with masked language models: its `MaskedLMScorer`, in the sizes its pages show.

https://github.com/kanishkamisra/minicons: `sequence_score(stimuli, reduction=lambda x: x.sum(0).item())`, with the
pseudo-log-likelihood of Salazar et al. 2020 by `PLL_metric="original"`.
"""

from typing import Any

from peers.program import SCORE, Contender, Model, Variants

__all__ = ["load", "prepare", "variants"]


def prepare(model: Model) -> None:
    """Nothing is made: minicons loads checkpoints with transformers."""


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
        self.scorer: Any = scorer.MaskedLMScorer(str(model.checkpoint), "cpu")

    def fill(self, texts: list[str]) -> list[int]:
        """minicons fills no masks."""
        raise NotImplementedError

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text, nats."""
        scores = self.scorer.sequence_score(texts, reduction=lambda x: x.sum(0).item(), PLL_metric="original")
        return [float(score) for score in scores]
