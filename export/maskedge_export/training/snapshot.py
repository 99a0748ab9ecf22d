"""A run's state on disk: Hugging Face checkpoints that a killed run goes on from, bit for bit.

Nothing random outlives a step (rows and masks are drawn from the seed and the step), so weights, optimizer states and
the step's number are the whole state. Tensors are safetensors and the rest is JSON: nothing is pickled.
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from maskedge_export.encoders.pretrained import TrainedModel
from maskedge_export.staging import staging

__all__ = ["latest_snapshot", "remove_partial_snapshots", "restore_optimizers", "write_snapshot"]

KEPT = 2
"""The last checkpoints that stay on disk."""
STATE_DIRECTORY, OPTIMIZERS_FILE = "training", "optimizers.safetensors"
NAME = re.compile(r"step-(\d+)")


def write_snapshot(
    directory: Path, step: int, model: TrainedModel, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Write the state after `step` steps as `directory/step-N`, and delete all but the last two.

    It appears in one rename, so whoever is killed leaves whole checkpoints, and hidden left-overs beside them.
    """
    with staging(directory / f"step-{step:08}", overwrite=True) as partial:
        model.save(partial)
        (partial / STATE_DIRECTORY).mkdir()
        save_file(_tensors(optimizers), partial / STATE_DIRECTORY / OPTIMIZERS_FILE)
        (partial / STATE_DIRECTORY / "state.json").write_text(json.dumps({"step": step}), encoding="utf-8")
    # only now that the new one is there
    for _, old in _snapshots(directory)[:-KEPT]:
        shutil.rmtree(old)


def latest_snapshot(directory: Path) -> tuple[int, Path] | None:
    """The last complete checkpoint and its step; None where there is none."""
    snapshots = _snapshots(directory)
    return snapshots[-1] if snapshots else None


def remove_partial_snapshots(directory: Path) -> None:
    """Delete what a run that was killed while it wrote left behind."""
    for left_over in directory.glob(".step-*"):
        shutil.rmtree(left_over)


def restore_optimizers(snapshot: Path, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Give the optimizers the states that they had when the checkpoint was written. Their learning rates stay: the
    schedule sets them at each step."""
    tensors = load_file(snapshot / STATE_DIRECTORY / OPTIMIZERS_FILE)
    for number, optimizer in enumerate(optimizers):
        # this optimizer's tensors, by the number of the weight that they belong to
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            owner, parameter, key = name.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(parameter), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _snapshots(directory: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints and their steps, the oldest first."""
    found = ((NAME.fullmatch(path.name), path) for path in directory.glob("step-*"))
    return sorted((int(match[1]), path) for match, path in found if match)


def _tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """All optimizers' tensors: which optimizer's, which weight's, and what they are, by name."""
    return {
        f"{number}.{parameter}.{key}": tensor.contiguous()
        for number, optimizer in enumerate(optimizers)
        for parameter, state in optimizer.state_dict()["state"].items()
        for key, tensor in state.items()
    }
