"""Whether a model's weights are numbers."""

from collections.abc import Container
from pathlib import Path

from torch import Tensor, nn

from maskedge_export.errors import CheckpointError

__all__ = ["check_weights"]


def check_weights(model: nn.Module, path: Path, not_stored: Container[str]) -> None:
    """Raises CheckpointError, naming the checkpoint's path and the first weight, where weights hold what is no number
    or has no end. A bias may be -infinity: a token whose bias it is is ruled out. Those that were not stored
    are not looked at: they are replaced, or take no part."""
    stored = ((name, weight) for name, weight in model.named_parameters() if name not in not_stored)
    broken = {name: count for name, weight in stored if (count := _broken(weight))}
    if broken:
        name, count = next(iter(broken.items()))
        raise CheckpointError(
            f"{path} holds NaN or infinities in {len(broken)} of its weights, {count:,} of them in {name}, so that it "
            "predicts nothing; give a checkpoint of before its training diverged, or one that was saved whole"
        )


def _broken(weight: Tensor) -> int:
    """How many of its values no model can compute with."""
    values = weight.detach()
    broken = values.isnan() | values.isposinf()
    if values.ndim > 1:
        broken |= values.isneginf()
    return int(broken.sum())
