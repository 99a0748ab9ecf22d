"""Weights are rounded to few bits so that their products with real inputs change least."""

import numpy as np
import numpy.typing as npt
import pytest

from maskedge.arrays import Float32Array
from maskedge_export.quantization.gptq import blockwise, gptq, round_to_nearest


@pytest.fixture(scope="module")
def inputs() -> Float32Array:
    """Correlated inputs [rows, channels], as activations are."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 12)) @ rng.normal(size=(12, 48)) + 0.3 * rng.normal(size=(500, 48))).astype("f4")


@pytest.fixture(scope="module")
def weight() -> Float32Array:
    """[in, out]"""
    return np.random.default_rng(1).normal(size=(48, 20)).astype(np.float32)


def product_error(inputs: Float32Array, weight: Float32Array, values: Float32Array) -> float:
    return float(np.square(inputs @ (values - weight)).sum())


def slow_gptq(weight: Float32Array, hessian: Float32Array, qmax: int) -> npt.NDArray[np.int64]:
    """Optimal Brain Quantization as its paper writes it, one row at a time: after a row is rounded, all that are left
    take the step that repairs most, and the row is struck out of the inverse."""
    scales = np.maximum(np.abs(weight).max(0), 1e-12).astype(np.float32) / np.float32(qmax)
    hessian = hessian.astype(np.float64)
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    inverse, rest = np.linalg.inv(hessian), weight.astype(np.float64)
    integers = np.zeros(weight.shape, np.int64)
    for row in np.argsort(-np.diag(hessian), kind="stable"):
        integers[row] = np.clip(np.rint(rest[row] / scales), -qmax, qmax)
        error = (rest[row] - integers[row] * scales) / inverse[row, row]
        rest -= np.outer(inverse[:, row], error)
        inverse -= np.outer(inverse[:, row], inverse[row]) / inverse[row, row]
        inverse[row], inverse[:, row] = 0, 0
        inverse[row, row] = 1  # never looked at again
    return integers


@pytest.mark.parametrize("qmax", [127, 63, 7])
def test_compensated_rounding_is_optimal_brain_quantization(
    inputs: Float32Array, weight: Float32Array, qmax: int
) -> None:
    hessian = inputs.T @ inputs
    expected = slow_gptq(weight, hessian, qmax)
    actual = gptq(weight, hessian, qmax).integers
    assert (actual == expected).mean() > 0.99  # a rounding of a half may fall the other way in single precision


@pytest.mark.parametrize("qmax", [127, 63, 7])
def test_compensated_rounding_changes_products_less_than_nearest(
    inputs: Float32Array, weight: Float32Array, qmax: int
) -> None:
    better = gptq(weight, inputs.T @ inputs, qmax)
    plain = round_to_nearest(weight, None, qmax)
    assert product_error(inputs, weight, better.values) < 0.5 * product_error(inputs, weight, plain.values)
    assert np.abs(better.integers).max() <= qmax


def test_nearest_errs_by_half_a_step(weight: Float32Array) -> None:
    rounded = round_to_nearest(weight)
    assert (np.abs(rounded.values - weight) <= 0.501 * rounded.scales).all()
    assert (np.abs(rounded.integers).max(0) == 127).all()


def test_inputs_never_seen_leave_nothing_to_compensate(weight: Float32Array) -> None:
    hessian = np.zeros((48, 48), np.float32)
    assert (gptq(weight, hessian, 127).integers == round_to_nearest(weight).integers).all()


def test_a_channel_never_seen_does_not_spoil_the_others(inputs: Float32Array, weight: Float32Array) -> None:
    silent = inputs.copy()
    silent[:, 5] = 0
    better, plain = gptq(weight, silent.T @ silent, 127), round_to_nearest(weight)
    assert product_error(silent, weight, better.values) < product_error(silent, weight, plain.values)
    assert np.abs(better.values[5] - weight[5]).max() <= 0.501 * plain.scales.max()


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (4, 15)])
@pytest.mark.parametrize("size", [32, 16])
def test_blocks_hold_the_weight(inputs: Float32Array, weight: Float32Array, bits: int, most: int, size: int) -> None:
    stored = blockwise(weight, inputs.T @ inputs, bits, size)
    assert stored.codes.shape == (20, -(-48 // size), size)
    assert stored.scales.shape == (20, -(-48 // size))
    assert stored.codes.max() <= most
    relative = product_error(inputs, weight, stored.values) / float(np.square(inputs @ weight).sum())
    assert relative < (1e-5 if bits == 8 else 5e-3)


def test_blocks_compensated_change_products_less_than_nearest(inputs: Float32Array, weight: Float32Array) -> None:
    better, plain = (blockwise(weight, hessian, 4, 16) for hessian in (inputs.T @ inputs, None))
    assert product_error(inputs, weight, better.values) < 0.5 * product_error(inputs, weight, plain.values)


def test_inputs_that_fill_no_block_are_padded_with_the_middle(weight: Float32Array) -> None:
    stored = blockwise(weight, None, 4, 32)
    assert (stored.codes[:, 1, 16:] == 8).all()
