"""Steps whose arrays do not fit each other never reach the kernels, which believe what they are told of sizes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_steps import Drawn, drawn_batch

from maskedge.kernels.fitting import check_fit
from maskedge.kernels.plan import plan_of
from maskedge.kernels.recognition import UnrecognizedError
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Levels, Linear, Normalized, Value
from maskedge.kernels.workspace import Workspace

pytestmark = pytest.mark.usefixtures("kernels")

DRAWN = Drawn(0)
EMBEDDED = DRAWN.embedded()
NORMALIZED = DRAWN.normalized(EMBEDDED)


def logits(source: Value, **changes: Any) -> Linear:
    levels = Levels(AtMasks(source), changes.pop("factors", None), DRAWN.levels(source).grid, None)
    return replace(DRAWN.linear(levels, 64, 100), **changes)


def attended(**changes: Any) -> Attended:
    levels = DRAWN.levels(NORMALIZED)
    queries, keys, values = (DRAWN.linear(levels, 64, 64) for _ in range(3))
    return replace(Attended(queries, keys, values, 2), **changes)


@pytest.mark.parametrize("step", [logits(NORMALIZED), logits(attended()), DRAWN.encoder(2, 2, 96)])
def test_steps_that_fit_are_computed(step: Linear) -> None:
    plan, batch = plan_of(step), drawn_batch(0, [9, 4])
    check_fit(plan)
    assert np.isfinite(Workspace(plan, batch.room, has_amx=False).logits(batch)).all()


@pytest.mark.parametrize(
    "value",
    [
        replace(EMBEDDED, scales=EMBEDDED.scales[1:]),
        replace(EMBEDDED, positions=EMBEDDED.positions[:, :32]),
        replace(EMBEDDED, first_position=64),
        replace(EMBEDDED, tokens=EMBEDDED.tokens.astype(np.int16)),
        replace(NORMALIZED, weight=NORMALIZED.weight[:32]),
        replace(NORMALIZED, weight=np.ones(128, np.float32)),
        replace(NORMALIZED, weight=NORMALIZED.weight.astype(np.float64)),
        replace(NORMALIZED, bias=np.zeros(32, np.float32)),
        attended(keys=DRAWN.linear(DRAWN.levels(NORMALIZED), 64, 32)),
        attended(values=AtMasks(NORMALIZED)),
        DRAWN.linear(DRAWN.levels(NORMALIZED), 128, 64),
        DRAWN.linear(DRAWN.levels(NORMALIZED), 64, 64, added=DRAWN.linear(DRAWN.levels(NORMALIZED), 64, 32)),
        DRAWN.linear(DRAWN.levels(NORMALIZED), 64, 64, added=AtMasks(NORMALIZED)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_step_that_does_not_fit_is_refused_by_its_kind(value: Embedded | Normalized | Attended | Linear) -> None:
    with pytest.raises(UnrecognizedError, match=rf"a step \({type(value).__name__}\) has arrays that do not fit"):
        check_fit(plan_of(logits(value)))


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": np.ones(100, np.float64)},
        {"factors": np.ones(32, np.float32)},
        {"factors": np.ones(64, np.float64)},
    ],
)
def test_a_product_with_other_arrays_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnrecognizedError, match="do not fit"):
        check_fit(plan_of(logits(NORMALIZED, **changes)))


@pytest.mark.parametrize(("width", "heads"), [(48, 1), (100, 2), (64, 4), (64, 0)])
def test_widths_that_the_kernels_are_not_made_for_are_refused(width: int, heads: int) -> None:
    with pytest.raises(UnrecognizedError, match=r"no multiple of 32"):
        check_fit(plan_of(Drawn(0, width=width).encoder(1, heads, 64)))
