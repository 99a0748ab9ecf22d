"""What 8 bits of an activation cover: one fixed range each, chosen from what was seen on calibration text."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime

from maskedge.arrays import Float32Array
from maskedge.bundle.engine import session_options
from maskedge_export.evaluation.masked_tokens import MaskedBatch

__all__ = ["ActivationObserver", "Range", "run_observers", "wants_per_token_scales"]


SAMPLED_ROWS = 2
"""Rows of each activation kept from a batch, to choose its range by."""

SHRINKAGE = np.linspace(1.0, 0.3, 15)
"""How far each end of the observed range is tried to be pulled in: a few clipped outliers buy finer steps."""


MOST_ERROR_LEFT = 0.6
"""A smaller gain is not worth the time that dividing and multiplying takes, a percent of the graph's each."""


@dataclass(frozen=True, slots=True)
class Range:
    """What an activation's steps cover; contains 0."""

    low: float
    high: float
    steps: int = 255
    """Fewer than the 255 of 8 bits where sums of products must stay small."""

    @property
    def scale(self) -> np.float32:
        """Width of a step."""
        return np.float32(max(self.high - self.low, 1e-8) / self.steps)

    @property
    def zero_point(self) -> np.uint8:
        """The step that stands for 0."""
        return np.uint8(np.clip(np.rint(-self.low / self.scale), 0, self.steps))

    @property
    def ends(self) -> tuple[np.float32, np.float32]:
        """The least and the greatest number that a step stands for."""
        zero = np.float32(self.zero_point)
        return -zero * self.scale, (np.float32(self.steps) - zero) * self.scale

    def rounded(self, x: Float32Array) -> Float32Array:
        """x as the steps represent it."""
        zero = np.float32(self.zero_point)
        steps = np.clip(np.rint(x / self.scale) + zero, 0, self.steps)
        return np.asarray((steps - zero) * self.scale, np.float32)


@dataclass
class ActivationObserver:
    """What was seen of one activation [.., channels]."""

    low: float = 0.0
    high: float = 0.0
    rows: list[Float32Array] = field(default_factory=list)
    count: int = 0
    """Rows seen."""
    stored_hessian: Float32Array | Path | None = None
    """Sum of x x^T over all rows seen, or the file that it was put into; None before the first."""

    @property
    def hessian(self) -> Float32Array | None:
        """Sum of x x^T over all rows seen, [channels, channels]; None before the first."""
        return np.load(self.stored_hessian) if isinstance(self.stored_hessian, Path) else self.stored_hessian

    def store_hessian(self, file: Path) -> None:
        """Keep the Hessian on disk: those of all activations may take more memory than the weights."""
        assert self.hessian is not None
        np.save(file, self.hessian)
        self.stored_hessian = file

    def add(self, values: Float32Array, rng: np.random.Generator) -> None:
        """Take note of a batch's values [.., channels]."""
        flat = values.reshape(-1, values.shape[-1])
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self.rows.append(flat[rng.permutation(len(flat))[:SAMPLED_ROWS]])
        self.count += len(flat)
        hessian = flat.T @ flat
        self.stored_hessian = hessian if self.hessian is None else self.hessian + hessian

    @cached_property
    def mse_range(self) -> Range:
        """The range with the least squared rounding and clipping error on the sampled rows."""
        x = np.concatenate(self.rows).ravel()
        candidates = [Range(self.low * a, self.high * b) for a in SHRINKAGE for b in SHRINKAGE[:: 2 if self.low else 1]]
        return min(candidates, key=lambda range_: float(np.square(range_.rounded(x) - x).sum()))


def run_observers(graph: Path, names: Iterable[str], batches: Iterable[MaskedBatch]) -> dict[str, ActivationObserver]:
    """Samples of the named values while the fp32 graph, which has them as outputs, runs over the batches."""
    # one thread: sums in one order, so that an export gives the same bytes on every machine
    session = onnxruntime.InferenceSession(str(graph), session_options(), providers=["CPUExecutionProvider"])
    observers = {name: ActivationObserver() for name in names}
    rng = np.random.default_rng(0)
    for batch in batches:
        inputs = {"input_ids": batch.input_ids, "mask_positions": batch.mask_positions}
        for observer, values in zip(observers.values(), session.run(list(observers), inputs), strict=True):
            observer.add(values, rng)
    return observers


def wants_per_token_scales(observer: ActivationObserver) -> bool:
    """Whether dividing each row by its largest magnitude leaves at most MOST_ERROR_LEFT of the squared rounding error.

    On a first model it left 5 to 27 % at the inputs of the feed-forward's second product, where single tokens are many
    times larger than most, 22 to 60 % at those of attention's last, and 55 to 75 % after a norm.
    """
    x = np.concatenate(observer.rows)
    peaks = np.maximum(np.abs(x).max(1, keepdims=True), 1e-8)
    per_token = Range(-1.0, 1.0).rounded(x / peaks) * peaks
    return bool(np.square(per_token - x).sum() <= MOST_ERROR_LEFT * np.square(observer.mse_range.rounded(x) - x).sum())
