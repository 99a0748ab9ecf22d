"""Whether steps fit each other: bundles come from anywhere, and the kernels believe what they are told of sizes."""

from typing import Any

import numpy as np

from maskedge.kernels.packing import INNER
from maskedge.kernels.pages import up_to
from maskedge.kernels.plan import Plan
from maskedge.kernels.recognition import UnrecognizedError
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Linear, Normalized, Value

__all__ = ["check_fit"]

WIDTH_STEP = 32
"""Rows of floats, and those of a head of attention, are multiples of it."""


def check_fit(plan: Plan) -> None:
    """Raises UnrecognizedError where an array has not the size that its step takes, or the kernels are made for
    others."""
    for value in plan.values:
        if not all(_fits(plan, value)):
            raise UnrecognizedError(f"a step ({type(value).__name__}) has arrays that do not fit what it is made of")
        width, heads = plan.width(value), value.heads if isinstance(value, Attended) else 1
        if width < 1 or heads < 1 or width % (WIDTH_STEP * heads):
            raise UnrecognizedError(f"{width} floats in {heads} heads, which have no multiple of {WIDTH_STEP} each")


def _fits(plan: Plan, value: Value) -> list[bool]:
    match value:
        case Embedded():
            (vocabulary, width), (positions, _) = value.tokens.shape, value.positions.shape
            return [
                _is(value.tokens, np.int8, vocabulary, width),
                _is(value.scales, np.float32, vocabulary),
                _is(value.positions, np.float32, positions, width),
                0 <= value.first_position < positions,
            ]
        case Normalized():
            width = plan.width(value.source)
            return [_is(each, np.float32, width) for each in (value.weight, value.bias) if each is not None]
        case Linear():
            return _linear_fits(plan, value)
        case Attended():
            others = (value.keys, value.values)
            same = [plan.width(each) == plan.width(value.queries) for each in others]
            return [*same, *(not plan.at_masks(each) for each in others)]
        case AtMasks():
            return [not plan.at_masks(value.source)]


def _linear_fits(plan: Plan, value: Linear) -> list[bool]:
    levels, (inner, outer) = value.levels, value.weights.shape
    source = plan.width(levels.source)
    fits = [
        up_to(INNER, inner) == up_to(INNER, source),
        _is(value.weights, np.int8, inner, outer),
        _is(value.scales, np.float32, outer),
        value.bias is None or _is(value.bias, np.float32, outer),
        levels.factors is None or _is(levels.factors, np.float32, source),
    ]
    if value.added is not None:
        fits += [
            plan.width(value.added) == plan.width(value),
            plan.at_masks(value.added) == plan.at_masks(value),
        ]
    return fits


def _is(array: Any, kind: type[np.generic], *shape: int) -> bool:
    return bool(array.dtype == kind and array.shape == shape)
