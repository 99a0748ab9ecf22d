"""What changes the weights, and by how much at each step."""

import math

import torch
from torch import Tensor, nn

from maskedge_export.recipe import OptimizerRecipe, ScheduleRecipe

__all__ = ["learning_rate_factor", "make_optimizers", "set_learning_rate"]


def make_optimizers(model: nn.Module, recipe: OptimizerRecipe) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov & Hutter 2019) for all weights, or Muon (Jordan 2024) for the layers' matrices and AdamW for
    embeddings, head and norms. Only matrices decay.

    Muon's step is the matrix nearest to the momentum whose singular values are all alike, found by Newton-Schulz
    iterations: all directions of a matrix change as much. That means something between hidden units, and nothing for
    the rows of a token table, most of which no token of a batch touches.

    Returns AdamW first, then Muon where it has something to train.
    """
    # divide the weights: matrices between hidden units, and the rest
    named = list(model.named_parameters())  # a tied weight comes once, by its embedding's name
    hidden = [parameter for name, parameter in named if recipe.name == "muon" and _is_hidden(name, parameter)]
    taken = set(map(id, hidden))
    others = [parameter for _, parameter in named if id(parameter) not in taken]
    # AdamW, without decay for norms and biases
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(recipe.betas[0], recipe.betas[1]),
            fused=True,
        )
    ]
    # Muon for what was kept for it
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                hidden, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay, momentum=recipe.momentum
            )
        )
    # the tops that a schedule takes its shares of
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _is_hidden(name: str, parameter: Tensor) -> bool:
    """A matrix from hidden units to hidden units; an embedding is none, nor is the decoder."""
    return parameter.ndim == 2 and not name.startswith(("embedding.", "head.decoder."))


def learning_rate_factor(step: int, recipe: ScheduleRecipe) -> float:
    """The learning rate of a step, counted from 0, as a share of its top: it rises through the warm-up, and falls to 0
    in the last steps (trapezoidal) or in all that are left (linear, cosine)."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    falling = recipe.steps - recipe.warmup
    if recipe.decay == "trapezoidal":
        falling = max(1, round(recipe.decay_share * recipe.steps))
    left = min(1.0, (recipe.steps - step) / max(1, falling))
    return (1 - math.cos(math.pi * left)) / 2 if recipe.decay == "cosine" else left


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> float:
    """Sets the learning rates to a share of their tops; returns AdamW's."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
    return float(optimizers[0].param_groups[0]["lr"])
