"""Weights as the kernels read them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskedge.arrays import Float32Array, Int8Array
from maskedge.kernels.library import kernels
from maskedge.kernels.pages import Pages, up_to
from maskedge.kernels.steps import Embedded, Grid, Linear

__all__ = ["INNER", "OUTER", "Term", "packed_terms", "packed_tokens"]

INNER, OUTER = 64, 32
"""Products are made of whole tiles of so many levels, and as many columns."""


@dataclass(frozen=True, slots=True)
class Term:
    """A product of one term of levels: sums times `scales`, plus `shifts`, times what a row was divided by, plus
    `bias`. Where rows were not divided, `shifts` are in `bias`."""

    weights: Int8Array  # as pack_weights lays them
    inner: int
    outer: int
    scales: Float32Array  # [outer]
    shifts: Float32Array  # [outer]
    bias: Float32Array  # [outer]


def packed_terms(linear: Linear, pages: Pages) -> list[Term]:
    """The product of the first term, and of the second where there is one; that has the bias."""
    inner, outer = linear.weights.shape
    weights = pages.take(up_to(INNER, inner) * up_to(OUTER, outer)).view(np.int8)
    sums = np.empty(outer, np.int32)
    strides = linear.weights.strides
    kernels().pack_weights(linear.weights.ctypes.data, inner, outer, *strides, weights.ctypes.data, sums.ctypes.data)
    grids = [linear.levels.grid]
    if linear.with_rest and linear.levels.rest is not None:
        grids.append(linear.levels.rest)
    return [_term(linear, pages, weights, sums, grid, is_last=grid is grids[-1]) for grid in grids]


def _term(
    linear: Linear, pages: Pages, weights: Int8Array, sums: npt.NDArray[np.int32], grid: Grid, *, is_last: bool
) -> Term:
    inner, outer = (up_to(multiple, size) for multiple, size in zip((INNER, OUTER), linear.weights.shape, strict=True))
    scales, shifts, bias = (pages.take(4 * outer).view(np.float32) for _ in range(3))
    scales[: sums.size] = linear.scales * np.float32(grid.scale)
    shifts[: sums.size] = -grid.zero_point * sums.astype(np.float64) * scales[: sums.size]
    if linear.bias is not None and is_last:
        bias[: sums.size] = linear.bias
    if linear.levels.least is None:
        bias += shifts
    return Term(weights, inner, outer, scales, shifts, bias)


def packed_tokens(embedded: Embedded, pages: Pages) -> Int8Array:
    """The table of tokens, of which rows are read from all over: where it stayed in the file's small pages, the CPU had
    to look one up for each row, and that took half as long as attention."""
    tokens = embedded.tokens
    packed: Int8Array = pages.take(tokens.nbytes).view(tokens.dtype).reshape(tokens.shape)
    packed[:] = tokens
    return packed
