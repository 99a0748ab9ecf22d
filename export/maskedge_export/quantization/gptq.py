"""fp32 weights -> integers with a scale for each output channel, or for each short block of one.

Each element is rounded to its nearest step, or as GPTQ does (Frantar et al. 2022, after Optimal Brain Quantization):
one input row after another, and the rows still to come make up for the error so far, so that the weight's products
with real inputs x change least. What they change by is given by the Hessian, the sum of x x^T over calibration text.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskedge.arrays import Float32Array

__all__ = [
    "BlockWeight",
    "RoundedWeight",
    "Rounding",
    "blockwise",
    "channel_scales",
    "gptq",
    "round_to_nearest",
]

ScalesOf = Callable[[Float32Array], Float32Array]
"""Rows about to be rounded [rows, out] -> the scales [out] to round them with."""

DAMPING = 0.01
"""Share of the inputs' mean square that is added to each channel's own: a channel that calibration rarely saw would
otherwise seem free to take any error."""

BLOCK_ROWS = 64
"""Rows whose errors are passed on together: the same result as one by one, in fewer passes over the weight."""

SHRINKAGE = np.linspace(1.0, 0.7, 13, dtype=np.float32)
"""Shares of the scale that clips nothing, at which a block's scale is tried. Whole channels of 8 bits keep the full
scale: clipping never lowered their squared error."""


@dataclass(frozen=True, slots=True)
class RoundedWeight:
    """A weight with a scale for each output channel."""

    integers: npt.NDArray[np.int8]
    """[in, out]"""
    scales: Float32Array
    """[out]"""

    @property
    def values(self) -> Float32Array:
        """What the graph multiplies with, [in, out]."""
        return self.integers * self.scales


@dataclass(frozen=True, slots=True)
class BlockWeight:
    """A weight with a scale for each block of inputs of each output channel."""

    codes: npt.NDArray[np.uint8]
    """[out, blocks, block size]: the integers plus 2^(bits - 1); the last block is filled up with zero weights."""
    scales: Float32Array
    """[out, blocks]"""
    bits: int
    inputs: int
    """How many inputs the weight has, without what fills up its last block."""

    @property
    def values(self) -> Float32Array:
        """What the graph multiplies with, [in, out]."""
        integers = self.codes.astype(np.float32) - np.float32(2 ** (self.bits - 1))
        blocks = integers * self.scales[:, :, np.newaxis]
        return np.ascontiguousarray(blocks.reshape(len(blocks), -1)[:, : self.inputs].T)


Rounding = Callable[[Float32Array, Float32Array | None, int], RoundedWeight]
"""(weight [in, out], hessian [in, in] or None, qmax) -> the weight as integers from -qmax to qmax."""


def channel_scales(weight: Float32Array, axis: int, qmax: int = 127) -> Float32Array:
    """The scale of each output channel, with which its largest magnitude becomes `qmax`.

    Args:
        weight: [in, out] or [out, in].
        axis: The axis of the input channels.
        qmax: The largest integer.
    """
    return np.asarray(np.maximum(np.abs(weight).max(axis), 1e-12) / qmax, np.float32)


def round_to_nearest(weight: Float32Array, hessian: Float32Array | None = None, qmax: int = 127) -> RoundedWeight:
    """The weight [in, out], each element at the step nearest to it; the Hessian is not used."""
    scales = channel_scales(weight, 0, qmax)
    return RoundedWeight(_steps(weight, scales, -qmax, qmax), scales)


def gptq(weight: Float32Array, hessian: Float32Array | None, qmax: int = 127) -> RoundedWeight:
    """The weight rounded so that its products with the calibration's inputs change least.

    Args:
        weight: [in, out].
        hessian: [in, in], the sum of x x^T over the inputs; without it, or where it is all 0, each element is rounded
            to the nearest step.
        qmax: The largest integer.
    """
    if hessian is None or not hessian.any():
        return round_to_nearest(weight, hessian, qmax)
    # The channels with the largest inputs go first, while most others are left to make up for their errors.
    scales = channel_scales(weight, 0, qmax)
    order = np.argsort(-np.diag(hessian), kind="stable")
    factors = _error_factors(hessian[np.ix_(order, order)])
    integers = np.empty(weight.shape, np.int8)
    integers[order], _ = _round_in_order(weight[order], factors, lambda rows: scales, BLOCK_ROWS, (-qmax, qmax))
    return RoundedWeight(integers, scales)


def blockwise(weight: Float32Array, hessian: Float32Array | None, bits: int, size: int) -> BlockWeight:
    """The weight in blocks with a scale each, rounded as `gptq` does.

    Args:
        weight: [in, out].
        hessian: [in, in], as in `gptq`.
        bits: Of each integer.
        size: Inputs that share a scale.
    """
    known = hessian is not None and bool(hessian.any())
    factors = _error_factors(hessian) if hessian is not None and known else np.eye(len(weight), dtype=np.float32)
    limits = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    # The rows stay in the weight's order, which the blocks are cut from. A block's scales are chosen when its turn
    # comes: its rows then hold the errors of the blocks before.
    integers, scales = _round_in_order(weight, factors, lambda rows: _best_scales(rows, limits), size, limits)
    padding = -len(weight) % size
    codes = np.pad(integers, ((0, padding), (0, 0))).T.reshape(weight.shape[1], -1, size).astype(np.int16) - limits[0]
    return BlockWeight(codes.astype(np.uint8), np.stack(scales, axis=1), bits, len(weight))


def _error_factors(hessian: Float32Array) -> Float32Array:
    """The upper Cholesky factor [in, in] of the damped Hessian's inverse: row i says how the rows after row i make up
    for an error in it.

    With H the Hessian and J the reversal of rows, J H J = L L^T gives H^-1 = (J L^-1 J)^T (J L^-1 J), so the factor is
    J L^-1 J. That takes less time and memory than inverting the Hessian first.
    """
    turned = torch.from_numpy(np.ascontiguousarray(hessian[::-1, ::-1], np.float64))
    turned.diagonal().add_(DAMPING * turned.diagonal().mean())
    # In place, and transposed, as LAPACK has them: two such matrices are 150 MB for 3,072 inputs, and five were in use.
    lower, factor = turned.mT, torch.eye(len(turned), dtype=turned.dtype).mT
    torch.linalg.cholesky(lower, out=lower)
    torch.linalg.solve_triangular(lower, factor, upper=False, out=factor)
    del turned, lower
    return np.ascontiguousarray(factor.float().numpy()[::-1, ::-1])


def _round_in_order(
    weight: Float32Array, factors: Float32Array, scales_of: ScalesOf, size: int, limits: tuple[int, int]
) -> tuple[npt.NDArray[np.int8], list[Float32Array]]:
    """The integers [in, out] of the weight's rows, rounded in their order, and the scales of each `size` rows.

    GPTQ's loop: `rest` is the weight with the errors so far made up for, of which the rows before `start` are done.
    """
    rest, factors_ = torch.from_numpy(weight.astype(np.float32, copy=True)), torch.from_numpy(factors)
    integers = torch.empty(rest.shape, dtype=torch.int8)
    all_scales = []
    for start in range(0, len(rest), size):
        stop = min(start + size, len(rest))
        scales = scales_of(rest[start:stop].numpy())
        errors = _round_block(rest[start:stop], factors_[start:stop, start:stop], scales, limits, integers[start:stop])
        # Let the rows after the block make up for all its errors together.
        rest[stop:].addmm_(factors_[start:stop, stop:].T, errors, alpha=-1)
        all_scales.append(scales)
    return integers.numpy(), all_scales


def _round_block(
    rest: Tensor, factors: Tensor, scales: Float32Array, limits: tuple[int, int], integers: Tensor
) -> Tensor:
    """Round a block's rows [size, out] one by one into `integers`, and let its later rows make up for each error at
    once; the errors [size, out], each over its row's own factor."""
    steps, errors = torch.from_numpy(scales), torch.empty_like(rest)
    for row, (values, error) in enumerate(zip(rest, errors, strict=True)):
        integers[row] = rounded = (values / steps).round_().clamp_(*limits)
        torch.sub(values, rounded * steps, out=error).div_(factors[row, row])
        rest[row + 1 :].addr_(factors[row, row + 1 :], error, alpha=-1)
    return errors


def _best_scales(rows: Float32Array, limits: tuple[int, int]) -> Float32Array:
    """The scales [out] with the least squared error of each column."""
    tried = [channel_scales(rows, 0, limits[1]) * share for share in SHRINKAGE]
    errors = [np.square(_steps(rows, scales, *limits) * scales - rows).sum(0) for scales in tried]
    best: Float32Array = np.choose(np.argmin(errors, axis=0), tried)
    return best


def _steps(weight: Float32Array, scales: Float32Array, low: int, high: int) -> npt.NDArray[np.int8]:
    return np.asarray(np.clip(np.rint(weight / scales), low, high), np.int8)
