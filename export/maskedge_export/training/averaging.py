"""The mean of checkpoints that were trained from one another.

That is weight averaging (Izmailov et al. 2018), or, of whole runs, a model soup (Wortsman et al. 2022). Runs that begin
alike end at the sides of one basin of the loss; their mean lies further inside, and often predicts better than each.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard

from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoders.pretrained import trainable
from maskedge_export.encoders.stored_weights import stored_weights
from maskedge_export.errors import CheckpointError, StagingError, TrainingError
from maskedge_export.staging import staging

__all__ = ["average"]


def average(checkpoints: Sequence[str], out: Path, shares: Sequence[float] | None = None) -> Path:
    """Write the checkpoint whose every weight is the mean of others'.

    Args:
        checkpoints: Directories or Hub ids, of one native architecture, size and vocabulary. Tokenizer and
            configuration are those of the first.
        out: The new checkpoint's directory, which must not exist.
        shares: Each one's share of the mean, in proportion; equal ones by default.

    Returns `out`. The weights are stored in half precision where all the checkpoints' are.

    Raises CheckpointError where one cannot be read or is another kind of model, UnsupportedModelError for an
    architecture without a native encoder, TrainingError for shares that are no shares, and StagingError where `out`
    cannot be written; nothing is written then.
    """
    shares = _normalised(checkpoints, shares)
    if out.exists():
        raise StagingError(f"{out} exists; choose another --out")
    first = load_checkpoint(checkpoints[0])
    mean, halves = trainable(first), _is_half(first)
    with torch.no_grad():
        for weight in mean.encoder.parameters():
            weight.mul_(shares[0])
        for name, share in zip(checkpoints[1:], shares[1:], strict=True):
            other = load_checkpoint(name)
            _add(other, first, share)
            halves = halves and _is_half(other)
    with staging(out, overwrite=False) as directory:
        mean.save(directory, torch.float16 if halves else torch.float32)
        _write_card(directory, out.name, first, checkpoints, shares)
    return out


def _normalised(checkpoints: Sequence[str], shares: Sequence[float] | None) -> list[float]:
    if len(checkpoints) < 2:
        raise TrainingError("a mean takes two checkpoints or more")
    shares = shares or [1.0] * len(checkpoints)
    if len(shares) != len(checkpoints) or min(shares) <= 0:
        given = ", ".join(map(str, shares))
        raise TrainingError(
            f"the shares {given} are not those of {len(checkpoints)} checkpoints: each has one, above 0"
        )
    return [share / sum(shares) for share in shares]


def _add(other: Checkpoint, mean: Checkpoint, share: float) -> None:
    """Add a share of another model's weights to those of the mean, in place."""
    kind, others = _kind(mean), _kind(other)
    if different := [name for name, value in kind.items() if others[name] != value]:
        name = different[0]
        raise CheckpointError(
            f"{other.name} is another kind of model than {mean.name}: {name} is {others[name]}, not {kind[name]}"
        )
    if other.tokenizer.get_vocab() != mean.tokenizer.get_vocab():
        raise CheckpointError(f"{other.name} has another vocabulary than {mean.name}: their weights mean other words")
    added = dict(trainable(other).encoder.named_parameters())  # tied as those of the mean: no weight is added twice
    for name, weight in mean.native().named_parameters():
        weight.add_(added[name], alpha=share)


def _kind(checkpoint: Checkpoint) -> dict[str, Any]:
    """What has to be the same for weights to be averaged: weights of one shape may still be for other heads."""
    config: Any = checkpoint.model.config
    return {**asdict(checkpoint.native().config), "tie_word_embeddings": config.tie_word_embeddings}


def _is_half(checkpoint: Checkpoint) -> bool:
    stored = stored_weights(checkpoint.path, checkpoint.model.config)
    return {weight.dtype for weight in stored.values()} == {"F16"}


def _write_card(
    directory: Path, name: str, first: Checkpoint, checkpoints: Sequence[str], shares: Sequence[float]
) -> None:
    """Say what it is the mean of. Licence and language are those of the first's card."""
    known = first.card.is_file()
    data = ModelCard.load(first.card, ignore_metadata_errors=True).data.to_yaml() if known else "{}"
    parts = "\n".join(f"- {share:.0%} `{each}`" for each, share in zip(checkpoints, shares, strict=True))
    card = f"---\n{data}\n---\n\n# {name}\n\nEvery weight is the mean of those of:\n\n{parts}\n"
    (directory / "README.md").write_text(card, encoding="utf-8")
