"""Predictions that are not finite: a token that is ruled out counts nothing, and what is no number is named."""

import json
import math
from typing import Any

import numpy as np
import pytest
from altered_bundles import without_unknown
from hypothesis import given, settings
from hypothesis import strategies as st

from maskedge.bundle.format import Bundle
from maskedge.inference.encoding import TextEncoder
from maskedge_export.errors import ExportError
from maskedge_export.evaluation.bootstrap import difference, estimate, perplexity_ratio, quantile
from maskedge_export.evaluation.comparison import Comparison, compare, kl_divergence
from maskedge_export.evaluation.gate import GATE
from maskedge_export.evaluation.masked_tokens import MaskedBatch, masked_batches
from maskedge_export.evaluation.metric_labels import METRIC_LABELS
from maskedge_export.evaluation.minimal_pairs import minimal_pairs
from maskedge_export.evaluation.whole_words import masked_words

NEVER = -math.inf


def batch(*targets: int) -> MaskedBatch:
    column = np.array(targets)[:, np.newaxis]
    return MaskedBatch(np.zeros((len(targets), 3), np.int64), np.ones_like(column), column)


def compared(reference: Any, candidate: Any, *targets: int) -> Comparison:
    """Of log-probabilities [masks, vocabulary]."""
    return compare(lambda _: iter([np.array(reference)]), lambda _: iter([np.array(candidate)]), [batch(*targets)])


HALF, QUARTER = math.log(0.5), math.log(0.25)


# Divergence


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any), st.data())
def test_divergence_is_that_of_what_is_left(weights: list[int], data: st.DataObject) -> None:
    """Against the sum as the definition has it, over the tokens that have a chance."""
    others = data.draw(st.lists(st.integers(1, 5), min_size=len(weights), max_size=len(weights)))
    p, q = (np.array(each) / sum(each) for each in (weights, others))
    with np.errstate(divide="ignore"):
        found = kl_divergence(np.log(p), np.log(q))
    expected = math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_what_both_rule_out_is_no_difference() -> None:
    same = compared([[HALF, HALF, NEVER]], [[HALF, HALF, NEVER]], 0)
    assert (same.max_logprob_difference, same.mean_kl.value, same.perplexity_change.value) == (0, 0, 0)
    assert GATE["fp32"].failures(same) == GATE["int8"].failures(same) == []


def test_what_only_one_rules_out_differs_without_end() -> None:
    wrong = compared([[HALF, QUARTER, QUARTER]], [[HALF, HALF, NEVER]], 0)
    assert wrong.mean_kl.value == wrong.max_logprob_difference == math.inf
    assert any("mean KL divergence is inf" in failure for failure in GATE["int8"].failures(wrong))
    other = compared([[HALF, HALF, NEVER]], [[HALF, QUARTER, QUARTER]], 0)
    assert other.mean_kl.value == pytest.approx(0.5 * math.log(0.5 / 0.25))


def test_a_target_that_both_rule_out_leaves_the_ratio_of_the_others() -> None:
    both = compared([[HALF, HALF, NEVER]] * 4, [[QUARTER, math.log(0.75), NEVER]] * 4, 2, 0, 0, 0)
    assert both.reference_perplexity == both.candidate_perplexity == math.inf
    assert both.perplexity_change.value == pytest.approx(2 ** (3 / 4) - 1)
    assert math.isfinite(both.perplexity_change.high)


def test_a_target_that_the_candidate_alone_rules_out_fails_the_gate() -> None:
    worse = compared([[HALF, QUARTER, QUARTER]] * 2, [[HALF, HALF, NEVER]] * 2, 2, 0)
    assert worse.perplexity_change.high == math.inf
    assert any("change in masked perplexity" in failure for failure in GATE["int8"].failures(worse))


def test_a_reference_that_says_no_numbers_is_named() -> None:
    nothing = [math.nan] * 3
    with pytest.raises(ExportError, match=r"the reference does so at 1 of 2 masks"):
        compared([[HALF, HALF, NEVER], nothing], [[HALF, HALF, NEVER]] * 2, 0, 0)


def test_a_candidate_that_says_no_numbers_fails_every_limit() -> None:
    broken = compared([[HALF, HALF, NEVER]] * 2, [[math.nan] * 3, [HALF, HALF, NEVER]], 0, 0)
    assert math.isnan(broken.mean_kl.value)
    assert len(GATE["int8"].failures(broken)) >= 2


def test_metrics_that_are_not_finite_are_shown() -> None:
    wrong = compared([[HALF, QUARTER, QUARTER]] * 2, [[HALF, HALF, NEVER]] * 2, 2, 0).as_dict()
    kept = {**wrong, "mean_kl": None, "intervals": {**wrong["intervals"], "mean_kl": [None, None]}}
    kept |= {"candidate_perplexity": None, "perplexity_change": 0.5}
    kept["intervals"]["perplexity_change"] = [0.1, None]
    for metrics in (wrong, json.loads(json.dumps(kept))):
        assert all(show(metrics) for show in METRIC_LABELS.values())


# Intervals


def test_a_quantile_among_infinities_is_one_of_the_values() -> None:
    assert quantile(np.array([1.0, 2.0, 3.0, math.inf]), 0.5) == 2.5
    assert quantile(np.array([1.0, math.inf, math.inf]), 0.9) == math.inf
    assert quantile(np.array([NEVER, NEVER, 1.0]), 0.1) == NEVER
    assert math.isnan(quantile(np.array([1.0, math.nan]), 0.5))


def test_an_interval_may_have_no_end() -> None:
    found = estimate(np.array([1.0] * 50 + [math.inf]))
    assert found.value == found.high == math.inf
    assert perplexity_ratio(np.array([1.0, math.inf]), np.array([1.0, math.inf])).high == 1
    assert difference(np.array([math.inf, 1.0]), np.array([math.inf, math.inf])).tolist() == [0, NEVER]


# Texts that the tokenizer cannot write


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder.of_bundle(Bundle.open(without_unknown(tmp_path_factory.mktemp("wordless") / "bundle")))


def test_texts_that_cannot_be_written_are_left_out(encoder: TextEncoder) -> None:
    good = ["the cat", "the water the cat", "water the cats"]
    texts = [text for each in good for text in (each, f"{each} 🙂", "🙂")]
    numbers = [found.texts for found in masked_batches(texts, encoder)]
    assert sorted(text for found in numbers if found is not None for text in found.tolist()) == [0, 3, 6]
    assert len(minimal_pairs(texts, encoder)) == len(minimal_pairs(good, encoder)) > 0
    assert masked_words(texts, encoder) == masked_words(good, encoder) != []
