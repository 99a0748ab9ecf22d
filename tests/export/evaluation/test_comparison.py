"""The proof's metrics are those that a hand computes, and every limit can fail."""

import math
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maskedge_export.evaluation.bootstrap import Estimate, estimate
from maskedge_export.evaluation.comparison import Comparison, compare
from maskedge_export.evaluation.gate import GATE, Limits, changed
from maskedge_export.evaluation.logprobs import cached_logprobs
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.evaluation.minimal_pairs import MinimalPair, sentences_of


def exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


PERFECT = Comparison(
    masked_tokens=100,
    max_logprob_difference=0.0,
    mean_kl=exactly(0.0),
    p99_kl=exactly(0.0),
    top1_agreement=exactly(1.0),
    top5_agreement=exactly(1.0),
    perplexity_change=exactly(0.0),
    reference_perplexity=40.0,
    candidate_perplexity=40.0,
    pairs=50,
    pair_agreement=exactly(1.0),
)
OUTSIDE = [
    (
        "fp32",
        {"max_logprob_difference": 0.0011},
        "largest log-probability difference is 0.0011, above its limit of 0.001",
    ),
    ("int8", {"mean_kl": exactly(0.051)}, "mean KL divergence is 0.051, above its limit of 0.05"),
    ("int8", {"top1_agreement": exactly(0.84)}, "top-1 disagreement is 0.16, above its limit of 0.15"),
    (
        "int8",
        {"perplexity_change": Estimate(0.015, 0.005, 0.025)},
        "change in masked perplexity (upper end of its interval) is 0.025, above its limit of 0.02",
    ),
    ("int8", {"pair_agreement": exactly(0.89)}, "disagreement on minimal pairs is 0.11, above its limit of 0.1"),
]
LIMITS = {
    "fp32": Limits(logprob_difference=0.001),
    "int8": Limits(mean_kl=0.05, top1_agreement=0.85, perplexity_change=0.02, pair_agreement=0.9),
}


def batch(*targets: int) -> MaskedBatch:
    """Masked tokens of which only the targets matter."""
    column = np.array(targets)[:, np.newaxis]
    return MaskedBatch(np.zeros((len(targets), 3), np.int64), np.ones_like(column), column)


def compared(reference: list[Any], candidate: list[Any], *batches: MaskedBatch) -> Comparison:
    """The comparison of two tables of probabilities, one for each batch."""
    return compare(lambda _: map(np.log, reference), lambda _: map(np.log, candidate), batches)


def test_figures_of_one_cell_are_those_of_the_definitions() -> None:
    result = compared([[[0.5, 0.25, 0.25]]], [[[0.25, 0.5, 0.25]]], batch(0))
    assert result.masked_tokens == 1
    assert result.max_logprob_difference == pytest.approx(math.log(2))
    assert result.mean_kl.value == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert result.top1_agreement.value == 0
    assert result.reference_perplexity == pytest.approx(2)
    assert result.candidate_perplexity == pytest.approx(4)
    assert result.perplexity_change.value == pytest.approx(1.0)


def test_figures_are_means_over_cells_whatever_the_batches() -> None:
    reference = [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]
    candidate = [[0.8, 0.2], [0.4, 0.6], [0.2, 0.8]]
    together = compared([reference], [candidate], batch(0, 1, 1))
    apart = compared([reference[:1], reference[1:]], [candidate[:1], candidate[1:]], batch(0), batch(1, 1))
    assert together == apart
    second = 0.5 * math.log(0.5 / 0.4) + 0.5 * math.log(0.5 / 0.6)
    third = 0.1 * math.log(0.1 / 0.2) + 0.9 * math.log(0.9 / 0.8)
    assert together.mean_kl.value == pytest.approx((second + third) / 3)
    assert together.top1_agreement.value == pytest.approx(2 / 3)  # of equals, the first token counts as the best
    assert together.reference_perplexity == pytest.approx((0.8 * 0.5 * 0.9) ** (-1 / 3))
    assert together.candidate_perplexity == pytest.approx((0.8 * 0.6 * 0.8) ** (-1 / 3))


def test_p99_lies_among_the_worst_cells() -> None:
    reference = np.full((200, 2), 0.5)
    candidate = np.array([[0.5, 0.5]] * 197 + [[0.1, 0.9]] * 3)
    result = compared([reference], [candidate], batch(*[0] * 200))
    assert result.p99_kl.value == pytest.approx(0.5 * math.log(0.5 / 0.1) + 0.5 * math.log(0.5 / 0.9))
    assert result.mean_kl.value == pytest.approx(result.p99_kl.value * 3 / 200)


@pytest.mark.parametrize(("precision", "metrics", "failure"), OUTSIDE)
def test_a_metric_outside_its_limit_is_named(precision: str, metrics: dict[str, Any], failure: str) -> None:
    (found,) = LIMITS[precision].failures(replace(PERFECT, **metrics))
    assert found.startswith(f"{failure} (--")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_figures_within_the_limits_pass(precision: str) -> None:
    at_the_limits = replace(
        PERFECT,
        max_logprob_difference=0.001,
        mean_kl=exactly(0.05),
        top1_agreement=exactly(0.85),
        perplexity_change=Estimate(0.0, -0.01, 0.02),
        pair_agreement=exactly(0.9),
    )
    assert LIMITS[precision].failures(PERFECT) == LIMITS[precision].failures(at_the_limits) == []


def test_limits_are_changed_for_all_quantized_graphs() -> None:
    gate = changed(GATE, mean_kl=0.5, top1_agreement=None)
    assert gate["fp32"] == GATE["fp32"]
    assert {limits.mean_kl for name, limits in gate.items() if name != "fp32"} == {0.5}
    assert [limits.top1_agreement for limits in gate.values()] == [limits.top1_agreement for limits in GATE.values()]


def test_what_is_asked_is_told_in_words() -> None:
    assert LIMITS["fp32"].describe() == "log-probabilities of the target and the five best tokens within 0.001 nats"
    assert LIMITS["int8"].describe() == (
        "a mean KL divergence of at most 0.05 nats, the same best token on at least 85% of the masks, a masked "
        "perplexity at most 2% higher (upper end of the interval), at least 90% of minimal pairs ranked the same"
    )
    assert Limits().describe() == "nothing"


def test_a_lower_perplexity_passes() -> None:
    assert LIMITS["int8"].failures(replace(PERFECT, perplexity_change=exactly(-0.5))) == []


def test_each_precision_has_limits_of_its_own() -> None:
    bad_int8 = replace(PERFECT, mean_kl=exactly(1.0), top1_agreement=exactly(0.0), perplexity_change=exactly(1.5))
    assert LIMITS["fp32"].failures(bad_int8) == []
    assert len(LIMITS["int8"].failures(bad_int8)) == 3
    assert LIMITS["int8"].failures(replace(PERFECT, max_logprob_difference=1.0)) == []


@pytest.mark.parametrize(("precision", "metrics", "failure"), OUTSIDE)
def test_nan_fails(precision: str, metrics: dict[str, Any], failure: str) -> None:
    nan: Any = {name: exactly(math.nan) if isinstance(value, Estimate) else math.nan for name, value in metrics.items()}
    (found,) = LIMITS[precision].failures(replace(PERFECT, **nan))
    assert "is nan" in found
    assert found.split(" is ")[0] in failure


def test_a_graph_that_gives_nan_fails() -> None:
    result = compared([[[0.5, 0.5]]], [[[math.nan, math.nan]]], batch(0))
    assert LIMITS["fp32"].failures(result)
    assert LIMITS["int8"].failures(result)


def test_top5_agreement_is_the_mean_share_of_shared_tokens() -> None:
    ordered = np.arange(20, 0, -1) / 210
    other = ordered[[0, 1, 2, 10, 11, 3, 4, *range(5, 10), *range(12, 20)]]
    result = compared([[ordered, ordered]], [[ordered, other]], batch(0, 0))
    assert result.top5_agreement.value == pytest.approx((1 + 3 / 5) / 2)


def test_intervals_hold_the_mean_s_share_of_resampled_samples() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    found = estimate(values)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20  # by the central limit theorem
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.15)


def test_cells_of_one_text_count_as_one_draw() -> None:
    """400 copies of 40 values know as much as the 40 values do."""
    values = np.random.default_rng(3).normal(2.0, 1.0, 40)
    copies, texts = np.repeat(values, 10), np.repeat(np.arange(40), 10)
    once, together, apart = estimate(values), estimate(copies, texts=texts), estimate(copies)
    assert (together.low, together.high) == pytest.approx((once.low, once.high))
    assert apart.high - apart.low < 0.5 * (once.high - once.low)


def test_a_comparison_draws_whole_texts() -> None:
    """Forty texts of ten masks each that say the same: as masks of unknown texts they seem to say ten times as much."""
    tables = [np.tile([share, 1 - share], (10, 1)) for share in np.linspace(0.1, 0.9, 40)]
    others = [np.full((10, 2), 0.5)] * 40
    apart = [batch(*[0] * 10) for _ in tables]
    together = [replace(masked, texts=np.full(10, number)) for number, masked in enumerate(apart)]
    wide, narrow = (compared(tables, others, *masked).mean_kl for masked in (together, apart))
    assert wide.value == pytest.approx(narrow.value)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_perplexity_s_change_is_paired() -> None:
    """Masks differ a thousandfold, the models by 1 % on each: the interval knows only the latter."""
    p = np.geomspace(1e-3, 0.9, 100)
    tables = [np.stack([share * p, 1 - share * p], 1) for share in (1.0, 0.99)]
    result = compared(tables[:1], tables[1:], batch(*[0] * 100))
    assert result.perplexity_change.value == pytest.approx(1 / 0.99 - 1)
    assert result.perplexity_change.high - result.perplexity_change.low < 1e-9


def test_figures_as_json_have_their_intervals() -> None:
    metrics = replace(PERFECT, mean_kl=Estimate(0.01, 0.008, 0.012), pair_agreement=None, pairs=0).as_dict()
    assert metrics["mean_kl"] == 0.01
    assert metrics["intervals"]["mean_kl"] == [0.008, 0.012]
    assert metrics["pair_agreement"] is None
    assert "pair_agreement" not in metrics["intervals"]


def test_pairs_agree_where_both_models_prefer_the_same_sentence() -> None:
    masked, first, second = batch(0), *(MinimalPair(batch(0, 0), batch(1, 1)) for _ in range(2))

    def model(*gains: float) -> Any:
        """log p of the two tokens, at every mask of the first and of the second pair."""
        p = {id(rows): gain for pair, gain in zip((first, second), gains, strict=True) for rows in _both(pair)}
        return lambda batches: (
            np.log([[p.get(id(rows), 0.5), 1 - p.get(id(rows), 0.5)]] * len(rows.targets)) for rows in batches
        )

    result = compare(model(0.9, 0.6), model(0.6, 0.4), [masked], [first, second])
    assert result.pairs == 2
    assert result.pair_agreement
    assert result.pair_agreement.value == 0.5
    assert compare(model(0.9, 0.6), model(0.6, 0.4), [masked]).pair_agreement is None


def _both(pair: MinimalPair) -> tuple[MaskedBatch, MaskedBatch]:
    return pair.original, pair.exchanged


class Model:
    """Answers with numbers of the texts' own, of as many bits as it is told."""

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.dtype = dtype

    def __call__(self, batches: Iterable[MaskedBatch]) -> Iterator[npt.NDArray[np.float64]]:
        return map(self.answer, batches)

    def answer(self, masked: MaskedBatch) -> npt.NDArray[np.float64]:
        seed = [*masked.input_ids.ravel().tolist(), *masked.mask_positions.ravel().tolist()]
        return np.random.default_rng(seed).normal(size=(len(masked.targets), 9)).astype(self.dtype).astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_are_kept_to_the_bit_and_the_model_is_not(dtype: type[np.floating[Any]], tmp_path: Path) -> None:
    def masked(token: int, *positions: int) -> MaskedBatch:
        column = np.array(positions)[:, np.newaxis]
        return MaskedBatch(np.full((len(positions), 4), token), column, column)

    batches, pair = [masked(5, 1), masked(5, 2), masked(6, 1, 2)], MinimalPair(masked(7, 1, 2), masked(8, 1, 2))
    model = Model(dtype)
    expected = list(model([*batches, pair.original, pair.exchanged]))
    answers = cached_logprobs(model, [*batches, *sentences_of([pair])], tmp_path / "answers")
    alive = weakref.ref(model)
    del model
    assert alive() is None
    found = answers([*batches, pair.original, pair.exchanged])
    assert all(np.array_equal(*both) for both in zip(found, expected, strict=True))


def test_a_model_is_asked_what_it_was_not_asked_before(tmp_path: Path) -> None:
    asked: list[int] = []

    def text(token: int) -> MaskedBatch:
        return MaskedBatch(np.full((1, 3), token), np.array([[1]]), np.array([[token]]))

    def model(batches: Iterable[MaskedBatch]) -> Iterator[npt.NDArray[np.float64]]:
        for each in batches:
            asked.append(int(each.targets[0, 0]))
            yield np.full((1, 9), -float(asked[-1]))

    cached_logprobs(model, [text(1), text(2)], tmp_path / "answers")
    answers = cached_logprobs(model, [text(0), text(2), text(3)], tmp_path / "answers")
    assert asked == [1, 2, 0, 3]
    assert [found[0, 0] for found in answers([text(3), text(1)])] == [-3.0, -1.0]


@pytest.mark.parametrize("vocabulary", [2, 5, 6, 60])
def test_of_equals_the_first_is_the_better(vocabulary: int) -> None:
    drawn = np.random.default_rng(1).integers(-3, 0, (2, 80, 1, vocabulary)).astype(np.float64)
    drawn[1, ::4, 0, 0] = -np.inf
    drawn[1, ::9, 0, 1:] = np.nan
    orders = np.argsort(-drawn[:, :, 0], axis=-1, kind="stable")[..., :5]
    first, second = (lambda batches, answers=answers: iter(answers[: len(list(batches))]) for answers in drawn)
    result = compare(first, second, [batch(1)] * 80)
    assert result.top1_agreement.value == pytest.approx(np.mean(orders[0, :, 0] == orders[1, :, 0]))
    shared = [np.isin(*both).mean() for both in zip(*orders, strict=True)]
    assert result.top5_agreement.value == pytest.approx(np.mean(shared))


def test_a_candidate_that_rules_a_target_out_has_an_infinite_perplexity() -> None:
    def ruled_out(batches: Iterable[MaskedBatch]) -> Iterator[npt.NDArray[np.float64]]:
        return (np.array([[-1e4, 0.0]]) for _ in batches)

    def undecided(batches: Iterable[MaskedBatch]) -> Iterator[npt.NDArray[np.float64]]:
        return (np.log([[0.5, 0.5]]) for _ in batches)

    result = compare(undecided, ruled_out, [batch(0)])
    assert result.candidate_perplexity == result.perplexity_change.value == math.inf
    assert any("is inf, above its limit" in failure for failure in Limits(perplexity_change=0.02).failures(result))
