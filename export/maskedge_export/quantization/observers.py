"""What is observed of activations on calibration text, and the range of each that 8 bits cover."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from maskedge.arrays import Float32Array
from maskedge_export.array_files import load_arrays, save_arrays
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.stages import KeptValues, Values, computed, part, stages
from maskedge_export.memory import release_memory, settled_objects

__all__ = ["ActivationObserver", "Range", "observe_activations", "wants_per_token_scales"]


SAMPLED_ROWS = 2
"""Rows of each activation kept from a batch, to choose its range by."""

ROWS_TOGETHER = 2048
"""Rows that are added to a Hessian at once: of 3,072 channels, 256 rows a time took twice the time."""

CHANNELS_TOGETHER = 256
"""Channels of a Hessian that are computed at once."""

SHRINKAGE = np.linspace(1.0, 0.3, 15)
"""Shares of the observed range's ends that are tried: where a few outliers are clipped, the steps are finer."""

LEAST_NOISE = 2e-3
"""A row's squared error in one fixed range, as a share of its squares, from which scales for each token are worth their
time: a percent of the graph's for the division, and one for the multiplication. Of the default model, rows before the
feed-forward's second MatMul err by 0.004 to 0.12, and a fixed range there costs up to 0.014 nats each; all others err
by 0.0012 at most, and diverge no more with a fixed range."""

MOST_ERROR_LEFT = 0.6
"""Share of that error that scales for each token may leave, to be worth their time."""


@dataclass(frozen=True, slots=True)
class Range:
    """The range that an activation's steps cover; it contains 0."""

    low: float
    high: float
    steps: int = 255
    """255 with 8 bits; fewer where the sums of the products must stay small."""

    @property
    def scale(self) -> np.float32:
        """Width of a step."""
        return np.float32(max(self.high - self.low, 1e-8) / self.steps)

    @property
    def zero_point(self) -> np.uint8:
        """The number of the step that stands for 0."""
        return np.uint8(np.clip(np.rint(-self.low / self.scale), 0, self.steps))

    @property
    def ends(self) -> tuple[np.float32, np.float32]:
        """The least and the greatest number that a step stands for."""
        zero = np.float32(self.zero_point)
        return -zero * self.scale, (np.float32(self.steps) - zero) * self.scale

    def rounded(self, x: Float32Array) -> Float32Array:
        """x, each element at the step nearest to it, within the range."""
        zero = np.float32(self.zero_point)
        steps = np.clip(np.rint(x / self.scale) + zero, 0, self.steps)
        return np.asarray((steps - zero) * self.scale, np.float32)


@dataclass
class ActivationObserver:
    """What was seen of one activation [.., channels] over all batches."""

    low: float = 0.0
    high: float = 0.0
    rows: list[Float32Array] = field(default_factory=list)
    """SAMPLED_ROWS of each batch, drawn at random, [rows, channels]."""
    count: int = 0
    """Rows seen."""
    stored_hessian: Float32Array | Path | None = None
    """`hessian` without the waiting rows, of which what lies below the diagonal is not read; or the file that the whole
    is kept in."""
    waiting: list[Float32Array] = field(default_factory=list)
    """Rows that are not in the Hessian yet."""

    @property
    def hessian(self) -> Float32Array | None:
        """The sum of x x^T over all rows seen, [channels, channels]; None before the first."""
        self._add_waiting()
        kept = self.stored_hessian
        if isinstance(kept, Path):
            return load_arrays(kept)["hessian"]
        return None if kept is None else np.triu(kept) + np.triu(kept, 1).T

    def store_hessian(self, file: Path) -> None:
        """Keep the Hessian in a file: those of all activations may take more memory than the weights."""
        assert self.hessian is not None
        save_arrays({"hessian": self.hessian}, file)
        self.stored_hessian = file

    def add(self, values: Float32Array, rng: np.random.Generator) -> None:
        """Take note of a batch's values [.., channels]."""
        flat = values.reshape(-1, values.shape[-1])
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self.rows.append(flat[rng.permutation(len(flat))[:SAMPLED_ROWS]])
        self.count += len(flat)
        self.waiting.append(flat)
        if sum(map(len, self.waiting)) >= ROWS_TOGETHER:
            self._add_waiting()

    def _add_waiting(self) -> None:
        if not self.waiting:
            return
        rows = np.concatenate(self.waiting)
        self.waiting.clear()
        if self.stored_hessian is None:
            self.stored_hessian = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
        assert isinstance(self.stored_hessian, np.ndarray)
        _add_products(self.stored_hessian, rows)

    @cached_property
    def mse_range(self) -> Range:
        """The range with the least squared error, of rounding and clipping together, on the sampled rows."""
        x = np.concatenate(self.rows).ravel()
        # Each end is pulled in by a share of its own, the upper one in double steps where there is a lower one too.
        candidates = [Range(self.low * a, self.high * b) for a in SHRINKAGE for b in SHRINKAGE[:: 2 if self.low else 1]]
        return min(candidates, key=lambda range_: float(np.square(range_.rounded(x) - x).sum()))


def _add_products(total: Float32Array, rows: Float32Array) -> None:
    """Add rows^T rows [channels, channels] to the total, on and above its diagonal.

    Half of what is symmetric is enough; and numpy, which knows that too, took twice the time: it mirrors each product,
    and its threads wait by spinning while onnxruntime would use the cores.
    """
    sums, factors = torch.from_numpy(total), torch.from_numpy(rows)
    for start in range(0, len(total), CHANNELS_TOGETHER):
        stop = start + CHANNELS_TOGETHER
        sums[start:stop, start:].addmm_(factors[:, start:stop].T, factors[:, start:])


@settled_objects()
def observe_activations(
    model: ir.Model, batches: Iterable[MaskedBatch], directory: Path
) -> dict[str, ActivationObserver]:
    """Observers of all activations that the graph multiplies with weights, by name.

    The graph runs over the batches once, stage by stage, so that the Hessians of one stage are in memory.

    Args:
        model: The fp32 graph.
        batches: Calibration text.
        directory: Where the Hessians are kept, and what each stage takes.
    """
    # Batches are added up in their order: an export gives the same bytes on every machine.
    observers: dict[str, ActivationObserver] = {}
    rng = np.random.default_rng(0)
    values: Iterable[Values] = [batch.inputs for batch in batches]
    for stage in stages(model):
        seen = {name: ActivationObserver() for name in stage.activations}
        handed_on = KeptValues(stage.hands_on, directory)
        for found in computed(part(model, stage.takes, (*stage.activations, *stage.hands_on)), values):
            for name, observer in seen.items():
                observer.add(found[name], rng)
            handed_on.append(found)
        for name, observer in seen.items():
            observer.store_hessian(directory / f"hessian{len(observers)}.safetensors")
            observers[name] = observer
        values = handed_on
        release_memory()
    return observers


def wants_per_token_scales(observer: ActivationObserver) -> bool:
    """Whether rows err by LEAST_NOISE or more in one fixed range, of which a scale for each row leaves MOST_ERROR_LEFT
    or less: so it is where single tokens are many times larger than most."""
    x = np.concatenate(observer.rows)
    peaks = np.maximum(np.abs(x).max(1, keepdims=True), 1e-8)
    fixed, left = (
        float((np.square(rounded - x).sum(1) / np.maximum(np.square(x).sum(1), 1e-16)).mean())
        for rounded in (observer.mse_range.rounded(x), Range(-1.0, 1.0).rounded(x / peaks) * peaks)
    )
    return fixed >= LEAST_NOISE and left <= MOST_ERROR_LEFT * fixed
