"""fp32 weights -> integers with a scale for each output channel, or for each short block of one.

To the nearest step, or as GPTQ does (Frantar et al. 2022, after Optimal Brain Quantization): row by row, each row's
rounding error spread over the rows not rounded yet, so that the product with real inputs changes least.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

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
"""Share of the inputs' mean square added to each channel's: those that calibration rarely saw stay in place."""

BLOCK_ROWS = 64
"""Rows whose errors are passed on together: the same result as one by one, in fewer passes over the weight."""

SHRINKAGE = np.linspace(1.0, 0.7, 13, dtype=np.float32)
"""What a block's scale is tried at, as a share of the one that clips nothing. (For whole channels of 8 bits clipping
never paid: the scale with the least squared error was the full one, or as good as it.)"""


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
    """[out, blocks, block size]: the integers, above their middle; inputs that the weight lacks are in the middle."""
    scales: Float32Array
    """[out, blocks]"""
    bits: int
    inputs: int
    """Inputs that the weight has."""

    @property
    def values(self) -> Float32Array:
        """What the graph multiplies with, [in, out]."""
        integers = self.codes.astype(np.float32) - np.float32(2 ** (self.bits - 1))
        blocks = integers * self.scales[:, :, np.newaxis]
        return np.ascontiguousarray(blocks.reshape(len(blocks), -1)[:, : self.inputs].T)


Rounding = Callable[[Float32Array, Float32Array | None, int], RoundedWeight]
"""(weight [in, out], hessian [in, in], qmax) -> the weight as integers from -qmax to qmax."""


def channel_scales(weight: Float32Array, axis: int, qmax: int = 127) -> Float32Array:
    """The scale of each output channel: its largest magnitude becomes `qmax`. `axis` is the input channels'."""
    return np.asarray(np.maximum(np.abs(weight).max(axis), 1e-12) / qmax, np.float32)


def round_to_nearest(weight: Float32Array, hessian: Float32Array | None = None, qmax: int = 127) -> RoundedWeight:
    """The weight [in, out], each element at the step nearest to it."""
    scales = channel_scales(weight, 0, qmax)
    return RoundedWeight(_steps(weight, scales, -qmax, qmax), scales)


def gptq(weight: Float32Array, hessian: Float32Array | None, qmax: int = 127) -> RoundedWeight:
    """The weight [in, out] rounded for inputs whose x x^T sum to `hessian` [in, in].

    Channels with the largest inputs go first, when most others are left to make up for their errors.
    """
    if hessian is None or not hessian.any():
        return round_to_nearest(weight, hessian, qmax)
    scales = channel_scales(weight, 0, qmax)
    order = np.argsort(-np.diag(hessian), kind="stable")
    factors = _error_factors(hessian[order][:, order])
    integers = np.empty(weight.shape, np.int8)
    integers[order], _ = _in_order(weight[order], factors, lambda rows: scales, BLOCK_ROWS, (-qmax, qmax))
    return RoundedWeight(integers, scales)


def blockwise(weight: Float32Array, hessian: Float32Array | None, bits: int, size: int) -> BlockWeight:
    """The weight [in, out] with a scale for each `size` inputs, rounded for inputs as in `gptq`.

    Without a Hessian to the nearest step. Blocks keep the weight's order, and a block's scales are chosen when its turn
    comes, with the errors of the blocks before it already in it.
    """
    known = hessian is not None and bool(hessian.any())
    factors = _error_factors(hessian) if hessian is not None and known else np.eye(len(weight), dtype=np.float32)
    limits = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    integers, scales = _in_order(weight, factors, lambda rows: _best_scales(rows, limits), size, limits)
    padding = -len(weight) % size
    codes = np.pad(integers, ((0, padding), (0, 0))).T.reshape(weight.shape[1], -1, size).astype(np.int16) - limits[0]
    return BlockWeight(codes.astype(np.uint8), np.stack(scales, axis=1), bits, len(weight))


def _error_factors(hessian: Float32Array) -> Float32Array:
    """Upper Cholesky factor of the damped Hessian's inverse: row i holds what error i does to the later rows.

    It is the inverse of the Cholesky factor that begins at the other end, which takes less time and memory than
    inverting the Hessian first.
    """
    turned = torch.from_numpy(np.ascontiguousarray(hessian[::-1, ::-1], np.float64))
    turned.diagonal().add_(DAMPING * turned.diagonal().mean())
    # In place, and transposed, as LAPACK has them: two such matrices are 150 MB for 3,072 inputs, and five were in use.
    lower, factor = turned.mT, torch.eye(len(turned), dtype=turned.dtype).mT
    torch.linalg.cholesky(lower, out=lower)
    torch.linalg.solve_triangular(lower, factor, upper=False, out=factor)
    del turned, lower
    return np.ascontiguousarray(factor.float().numpy()[::-1, ::-1])


def _in_order(
    weight: Float32Array, factors: Float32Array, scales_of: ScalesOf, size: int, limits: tuple[int, int]
) -> tuple[npt.NDArray[np.int8], list[Float32Array]]:
    """The weight's integers, row after row, and the scales of each `size` rows."""
    rest, integers = weight.astype(np.float32, copy=True), np.empty(weight.shape, np.int8)
    all_scales = []
    for start in range(0, len(rest), size):
        stop = min(start + size, len(rest))
        scales = scales_of(rest[start:stop])
        errors = np.empty((stop - start, weight.shape[1]), np.float32)
        for row in range(start, stop):
            integers[row] = _steps(rest[row], scales, *limits)
            errors[row - start] = (rest[row] - integers[row] * scales) / factors[row, row]
            rest[row + 1 : stop] -= np.outer(factors[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= factors[start:stop, stop:].T @ errors
        all_scales.append(scales)
    return integers, all_scales


def _best_scales(rows: Float32Array, limits: tuple[int, int]) -> Float32Array:
    """For each column the scale with the least squared error."""
    tried = [channel_scales(rows, 0, limits[1]) * share for share in SHRINKAGE]
    errors = [np.square(_steps(rows, scales, *limits) * scales - rows).sum(0) for scales in tried]
    best: Float32Array = np.choose(np.argmin(errors, axis=0), tried)
    return best


def _steps(weight: Float32Array, scales: Float32Array, low: int, high: int) -> npt.NDArray[np.int8]:
    return np.asarray(np.clip(np.rint(weight / scales), low, high), np.int8)
