"""The kernels beside numpy: whole encoders, and each kind of step where it is exact or at its edges."""

import math
import time
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from kernel_steps import Drawn, batch_of, drawn_batch, reference, rounded

from maskedge.kernels.batch import Batch, Room
from maskedge.kernels.library import DistributionCall, kernels
from maskedge.kernels.plan import plan_of
from maskedge.kernels.steps import AtMasks, Attended, Grid, Levels, Linear, Value
from maskedge.kernels.workspace import Workspace

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture(params=["VNNI", "AMX"])
def has_amx(request: pytest.FixtureRequest, amx: bool) -> bool:
    """Each way to multiply."""
    if request.param == "AMX" and not amx:
        pytest.skip("this CPU has no AMX")
    return bool(request.param == "AMX")


def logits(step: Linear, batch: Batch, has_amx: bool = False) -> Any:
    """What the kernels make of a batch, without the columns beyond the vocabulary."""
    made = Workspace(plan_of(step), batch.room, has_amx).logits(batch)
    return made[:, : step.weights.shape[1]].copy()


def described(logits: Any, size: int, count: int = 0, targets: Any = ()) -> dict[str, Any]:
    """What is made of some rows' first `size` logits, which become logarithms of probabilities."""
    rows = len(logits)
    ids = np.zeros((rows, 0), np.int64) if len(targets) == 0 else np.asarray(targets, np.int64)
    made: dict[str, Any] = {
        "entropies": np.empty(rows, np.float32),
        "values": np.empty((rows, count), np.float32),
        "places": np.empty((rows, count), np.int64),
        "target_values": np.empty(ids.shape, np.float32),
        "larger": np.empty(ids.shape, np.int64),
    }
    pointers = {name: array.ctypes.data for name, array in made.items()}
    sizes = {"stride": logits.shape[1], "tokens": size, "count": count, "targets": ids.shape[1]}
    call = DistributionCall(logits=logits.ctypes.data, target_ids=ids.ctypes.data, **sizes, **pointers)
    kernels().describe_rows(call, 0, rows)
    return made


def assert_is_numpy_s(step: Linear, batch: Batch, has_amx: bool) -> None:
    off = np.abs(logits(step, batch, has_amx) - reference(step, batch))
    assert np.median(off) < 2e-3  # a number between two levels may become the other one, and that goes on
    assert off.max() < 0.1


def at_masks(drawn: Drawn, source: Value, outer: int = 100, **more: Any) -> Linear:
    """A product of what a value is at the masks."""
    return drawn.linear(drawn.levels(AtMasks(source), **more), drawn.width, outer)


@pytest.mark.parametrize(("width", "heads", "inner"), [(64, 2, 128), (96, 1, 96), (128, 4, 512), (192, 3, 160)])
@pytest.mark.parametrize("seed", range(3))
def test_an_encoder_s_logits_are_numpy_s(width: int, heads: int, inner: int, seed: int, has_amx: bool) -> None:
    step = Drawn(seed, width=width).encoder(2, heads, inner)
    assert_is_numpy_s(step, drawn_batch(seed, [1, 7, 33, 8, 31, 64, 5], masks=1), has_amx)


def test_a_layer_of_wide_rows_is_numpy_s(has_amx: bool) -> None:
    assert_is_numpy_s(Drawn(0, width=544).encoder(1, 1, 64), drawn_batch(0, [7, 33, 1], masks=1), has_amx)


@pytest.mark.parametrize("seed", range(3))
def test_amx_and_vnni_give_the_same_bits(seed: int, amx: bool) -> None:
    """Of texts that are not long."""
    if not amx:
        pytest.skip("this CPU has no AMX")
    step = Drawn(seed, width=128, positions=127).encoder(2, 2, 256)
    batch = drawn_batch(seed, [3, 50, 17, 64, 127, 9] * 4)
    assert logits(step, batch, has_amx=True).tobytes() == logits(step, batch, has_amx=False).tobytes()


def test_a_text_has_the_same_bits_in_any_batch(has_amx: bool) -> None:
    step, lengths = Drawn(0, width=128, positions=200).encoder(2, 2, 128), [5, 40, 1, 200, 17, 130, 12, 7]
    random = np.random.default_rng(1)
    texts = [random.integers(0, 100, length).tolist() for length in lengths]
    masks = [sorted(random.choice(length, min(length, 2), replace=False).tolist()) for length in lengths]
    together = logits(step, batch_of(texts, masks), has_amx)
    alone = [logits(step, batch_of([text], [mask]), has_amx) for text, mask in zip(texts, masks, strict=True)]
    assert together.tobytes() == np.concatenate(alone).tobytes()
    others = list(range(8))[::-1]
    turned = logits(step, batch_of([texts[i] for i in others], [masks[i] for i in others]), has_amx)
    assert turned.tobytes() == np.concatenate([alone[i] for i in others]).tobytes()


@pytest.mark.parametrize("width", [64, 544], ids=["added-early", "added-late"])
def test_what_is_added_twice_is_kept_until_then(width: int, has_amx: bool) -> None:
    drawn = Drawn(4, width=width)
    source, batch = drawn.normalized(drawn.embedded()), drawn_batch(4, [33, 8, 64, 1], masks=1)
    value: Value = source
    for _ in range(3):  # each time in place of what was added, but for the source
        value = drawn.normalized(drawn.linear(drawn.levels(value), width, width, added=source))
        value = drawn.normalized(drawn.linear(drawn.levels(value), width, width, added=value))
    assert_is_numpy_s(at_masks(drawn, value), batch, has_amx)


@pytest.mark.parametrize(
    "gathered", [1, 19, 20, 22, 23]
)  # as many at least as a batch has: 17; then two, three and all
@pytest.mark.parametrize("members", [1, 2, 3, 7])  # more than heads
def test_masks_of_several_batches_have_the_same_bits_together(gathered: int, members: int, has_amx: bool) -> None:
    plan = plan_of(Drawn(5, width=96).encoder(2, 3, 64))
    batches = [
        drawn_batch(seed, lengths, masks=1) for seed, lengths in enumerate([[40, 30], [5], [9] * 17, [64, 2, 3]])
    ]
    room = reduce(Room.with_more, (batch.room for batch in batches))
    workspace = Workspace(plan, replace(room, gathered=gathered, members=members), has_amx)
    rows = sum(batch.masks.size for batch in batches)
    entropies, places, values = (
        np.empty(rows, np.float32),
        np.empty((rows, 100), np.int64),
        np.empty((rows, 100), np.float32),
    )
    found = {"entropies": entropies.ctypes.data, "places": places.ctypes.data, "values": values.ctypes.data}
    workspace.describe(batches, DistributionCall(count=100, **found), members)
    alone = np.concatenate([Workspace(plan, batch.room, has_amx).logits(batch)[:, :100] for batch in batches])
    expected = described(alone, 100, 100)
    for name, made in (("entropies", entropies), ("places", places), ("values", values)):
        assert made.tobytes() == expected[name].tobytes()


def test_a_workspace_says_what_each_kernel_takes() -> None:
    batch = drawn_batch(1, [60, 40, 20], masks=3)
    workspace = Workspace(plan_of(Drawn(3).encoder(1, 2, 64)), batch.room, has_amx=False)
    began = time.perf_counter()
    spent = workspace.seconds(batch)
    assert len(spent) == len(workspace.kernels)
    assert 0 < min(spent) <= sum(spent) < time.perf_counter() - began


def test_a_workspace_forgets_the_batch_before() -> None:
    plan = plan_of(Drawn(3).encoder(1, 2, 64))
    large, small = drawn_batch(1, [60, 40, 20], masks=3), drawn_batch(2, [11, 3])
    workspace, fresh = Workspace(plan, large.room, False), Workspace(plan, small.room, False)
    workspace.logits(large)
    assert workspace.logits(small).tobytes() == fresh.logits(small).tobytes()


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100, 300])
@pytest.mark.parametrize(
    ("inner", "outer"), [(32, 32), (64, 100), (96, 31), (160, 640), (832, 64), (1056, 64), (2048, 96), (3104, 32)]
)
def test_a_product_is_exact(rows: int, inner: int, outer: int, has_amx: bool) -> None:
    """Of more levels than are summed in one step too, and of more rows than stay in a cache."""
    drawn = Drawn(rows, width=inner, positions=rows)
    step = at_masks(drawn, drawn.embedded(), outer)
    batch = drawn_batch(rows, [rows], masks=rows)
    levels = rounded(reference(step.levels.source, batch), step.levels.grid)
    scales = step.scales * np.float32(step.levels.grid.scale)
    shifts = (
        -step.levels.grid.zero_point * step.weights.sum(axis=0, dtype=np.int64) * scales.astype(np.float64)
    ).astype(np.float32)
    assert step.bias is not None
    sums = (levels @ step.weights.astype(np.int64)).astype(np.float32)
    exact = sums.astype(np.float64) * scales + (
        step.bias + shifts
    )  # rounded once, as multiplying and adding at once is
    assert logits(step, batch, has_amx).tobytes() == exact.astype(np.float32).tobytes()


@pytest.mark.parametrize("grid", [Grid(0.01, 128), Grid(0.02, 0), Grid(0.02, 255), Grid(0.05, 64, 0, 127)])
def test_numbers_outside_the_levels_become_the_nearest(grid: Grid, has_amx: bool) -> None:
    drawn = Drawn(5)
    step, batch = at_masks(drawn, drawn.embedded(), grid=grid), drawn_batch(5, [40] * 3, masks=20)
    levels = rounded(reference(step.levels.source, batch), grid)
    assert {int(levels.min()), int(levels.max())} & {grid.lowest, grid.highest}
    assert np.abs(logits(step, batch, has_amx) - reference(step, batch)).max() < 1e-4


def test_a_number_that_is_none_is_the_lowest_level(has_amx: bool) -> None:
    drawn = Drawn(6)
    embedded = drawn.embedded()
    step, batch = at_masks(drawn, embedded), batch_of([[1, 2]], [[0]])
    embedded.positions[0, :3] = np.nan
    none = logits(step, batch, has_amx)
    embedded.positions[0, :3] = -1000
    assert none.tobytes() == logits(step, batch, has_amx).tobytes()


def test_rows_that_are_divided_by_their_largest_number_keep_small_ones(has_amx: bool) -> None:
    drawn = Drawn(7)
    embedded = drawn.embedded()
    embedded.scales[:50] *= 1e-4
    embedded.positions[:32] *= 1e-4
    step = at_masks(drawn, embedded, grid=Grid(1 / 127, 128), least=1e-6)
    batch = drawn_batch(7, [64], masks=60)
    expected = reference(step, batch)
    assert np.allclose(logits(step, batch, has_amx), expected, rtol=1e-4, atol=1e-5)


def test_a_second_term_keeps_what_the_first_leaves(has_amx: bool) -> None:
    drawn = Drawn(8)
    step, batch = (
        at_masks(drawn, drawn.embedded(), grid=Grid(0.15, 128), rest=Grid(0.15 / 250, 128)),
        drawn_batch(8, [50], masks=40),
    )
    whole = reference(step.levels.source, batch).astype(np.float64) @ (step.weights * step.scales.astype(np.float64))
    assert step.bias is not None
    coarse = Linear(Levels(step.levels.source, None, step.levels.grid, None), step.weights, step.scales, step.bias)
    fine, rough = (np.abs(logits(each, batch, has_amx) - whole - step.bias).mean() for each in (step, coarse))
    assert fine < rough / 50


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64])
@pytest.mark.parametrize("rest", [None, Grid(0.0003, 128)], ids=["one-term", "two-terms"])
@pytest.mark.parametrize("in_heads", [True, False])
def test_attention_is_that_of_each_text_alone(heads: int, length: int, rest: Grid | None, in_heads: bool) -> None:
    drawn = Drawn(length, width=96 if heads == 3 else 64)
    levels = drawn.levels(drawn.embedded(), rest=rest)
    width = drawn.width
    queries, keys, values = (drawn.linear(levels, width, width) for _ in range(3))
    step = at_masks(drawn, Attended(queries, keys, values if in_heads else keys, heads))  # no head of what serves twice
    batch = drawn_batch(length, [length, 3, length], masks=1)
    assert np.abs(logits(step, batch) - reference(step, batch)).max() < 0.05


@pytest.mark.parametrize("spread", [0.01, 1, 30], ids=["alike", "apart", "far-apart"])
@pytest.mark.parametrize("length", [2, 16, 30, 49, 64, 127, 128, 129, 191, 256, 300])
@pytest.mark.parametrize(("width", "heads"), [(64, 2), (64, 1), (192, 2), (128, 1)])
def test_shares_are_those_of_a_softmax(length: int, width: int, heads: int, spread: float, has_amx: bool) -> None:
    """Their scores are from next to each other to so far apart that nearly all shares are 0."""
    drawn = Drawn(length, width=width, positions=300)
    levels = drawn.levels(drawn.embedded())
    queries, keys, values = (drawn.linear(levels, width, width) for _ in range(3))
    queries = replace(queries, scales=queries.scales * np.float32(spread))
    step = at_masks(drawn, Attended(queries, keys, values, heads), grid=Grid(0.05, 128), rest=Grid(0.05 / 250, 128))
    batch = drawn_batch(length, [length] * 3, masks=2)
    assert np.abs(logits(step, batch, has_amx) - reference(step, batch)).max() < 1e-3


def test_a_lone_token_sees_itself() -> None:
    drawn = Drawn(9)
    levels = drawn.levels(drawn.embedded())
    queries, keys, values = (drawn.linear(levels, 64, 64) for _ in range(3))
    batch = drawn_batch(9, [1] * 20)
    weights, scales = drawn.integers(64, 32), np.full(32, 0.01, np.float32)
    seen, itself = (
        logits(Linear(Levels(AtMasks(each), None, Grid(0.03, 120), None), weights, scales), batch)
        for each in (Attended(queries, keys, values, 2), values)
    )
    assert seen.tobytes() == itself.tobytes()


def test_gelu_is_that_of_the_normal_distribution(has_amx: bool) -> None:
    """Of numbers from -9 to 9, which are the bias of a product of nothing."""
    numbers = np.linspace(-9, 9, 4096, dtype=np.float32)
    drawn = Drawn(10, width=4096)
    levels = drawn.levels(drawn.embedded())
    made = Linear(levels, np.zeros((4096, 4096), np.int8), np.zeros(4096, np.float32), numbers, has_gelu=True)
    batch = batch_of([[1]], [[0]])
    workspace = Workspace(plan_of(made), batch.room, has_amx)
    exact = [0.5 * number * (1 + math.erf(number / math.sqrt(2))) for number in numbers.astype(np.float64)]
    assert np.abs(workspace.logits(batch)[0] - exact).max() < 5e-7


# Distributions


@pytest.fixture
def drawn_logits() -> Any:
    return np.random.default_rng(11).normal(size=(7, 1000)).astype(np.float32) * 5


@pytest.mark.parametrize("size", [1, 15, 16, 17, 999, 1000])
def test_log_probabilities_and_entropy_are_those_of_a_softmax(drawn_logits: Any, size: int) -> None:
    wide = drawn_logits[:, :size].astype(np.float64)
    exact = wide - wide.max(axis=1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    beyond = drawn_logits[:, size:].copy()
    entropy = described(drawn_logits, size)["entropies"]
    assert np.abs(drawn_logits[:, :size] - exact).max() < 5e-6
    assert np.abs(entropy + (np.exp(exact) * exact).sum(axis=1)).max() < 5e-6
    assert np.array_equal(drawn_logits[:, size:], beyond)


def test_a_token_that_is_ruled_out_has_no_share(drawn_logits: Any) -> None:
    drawn_logits[:, ::2] = -np.inf
    entropy = described(drawn_logits, 1000)["entropies"]
    assert (drawn_logits[:, ::2] == -np.inf).all()
    assert np.abs(np.exp(drawn_logits[:, 1::2].astype(np.float64)).sum(axis=1) - 1).max() < 1e-5
    assert np.isfinite(entropy).all()


@pytest.mark.parametrize("place", [0, 8, 500, 999])
def test_a_logit_that_is_none_makes_none_of_its_row(drawn_logits: Any, place: int) -> None:
    drawn_logits[3, place] = np.nan
    entropy = described(drawn_logits, 1000)["entropies"]
    assert np.isnan(drawn_logits[3]).all()
    assert np.isnan(entropy).tolist() == [row == 3 for row in range(7)]
    assert np.isfinite(drawn_logits[4]).all()


@pytest.mark.parametrize("count", [1, 2, 5, 64, 1000])
@pytest.mark.parametrize("distinct", [3, 50, 100000])
def test_the_largest_come_first_and_of_equals_the_first(count: int, distinct: int) -> None:
    logits = np.random.default_rng(count).integers(0, distinct, (5, 1000)).astype(np.float32) / 100
    found = described(logits, 1000, count)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    assert np.array_equal(found["places"], expected)
    assert np.array_equal(found["values"], np.take_along_axis(logits, expected, axis=1))


def test_targets_are_rated_and_what_is_more_probable_is_counted() -> None:
    logits = np.random.default_rng(12).integers(0, 30, (4, 333)).astype(np.float32)
    targets = np.random.default_rng(13).integers(0, 333, (4, 6))
    found = described(logits, 333, targets=targets)
    expected = np.take_along_axis(logits, targets, axis=1)
    assert np.array_equal(found["target_values"], expected)
    assert np.array_equal(found["larger"], (logits[:, np.newaxis] > expected[:, :, np.newaxis]).sum(axis=2))


def test_the_kernels_are_those_of_these_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    from maskedge.kernels import library

    monkeypatch.setitem(library.STRUCTURES, "multiply", library.EmbeddingCall)
    with pytest.raises(OSError, match="compiled from other sources; install maskedge again"):
        library.kernels.__wrapped__()
