"""Two terms go where one loses most, no further than the extra work allowed, unless the gate asks for more."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from maskedge.bundle.engine import OnnxGraph
from maskedge_export.encoders.families import native_encoder
from maskedge_export.evaluation.comparison import compare
from maskedge_export.evaluation.gate import Limits
from maskedge_export.evaluation.logprobs import Logprobs, graph_logprobs
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.matmuls import matmul_inputs, weight_matmuls
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs
from maskedge_export.quantization.divergence import GATE_MARGIN, Divergence, ReferenceLogprobs
from maskedge_export.quantization.observers import ActivationObserver, Range, observe_activations
from maskedge_export.quantization.qdq import Plan, quantize, round_weights
from maskedge_export.quantization.sensitivity import (
    ACTIVATIONS_A_TRY,
    MOST_EXTRA_WORK,
    TOKENS_PER_MASK,
    Sensitivity,
    measure_sensitivity,
    refined_to_gate,
    with_second_terms,
)

pytestmark = pytest.mark.slow

TOO_WIDE = 64
"""How many times wider than needed the spoilt activation's range is made: 6 of its 8 bits are lost."""


@pytest.fixture(scope="module")
def batches(masked_ids: Callable[..., Any]) -> list[MaskedBatch]:
    texts = [masked_ids(300, batch=16, length=length, masks=1) for length in (6, 9, 15)]
    return [MaskedBatch(ids.numpy(), at.numpy(), np.ones_like(at.numpy())) for ids, at in texts]


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Any]) -> ir.Model:
    bert = make_model("bert")
    return encoder_graph(native_encoder(bert.config, bert.state_dict()))


class Spoilt(ActivationObserver):
    """An activation whose range is taken as it is said to be."""

    @property
    def mse_range(self) -> Any:
        return Range(self.low, self.high)


@pytest.fixture(scope="module")
def plan(model: ir.Model, batches: list[MaskedBatch], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """One term each; the first attention's output is said to reach much further than it does."""
    observers = observe_activations(model, batches, tmp_path_factory.mktemp("observed"))
    seen, name = observers[attention_output(model)], attention_output(model)
    observers[name] = Spoilt(seen.low * TOO_WIDE, seen.high * TOO_WIDE, seen.rows, seen.count, seen.hessian)
    return Plan(observers, round_weights(model, observers))


def attention_output(model: ir.Model) -> str:
    node = next(node for node in model.graph if node.op_type == "Attention")
    return str(node.outputs[0].name)


def logprobs(model: ir.Model, directory: Path) -> Logprobs:
    scoring = model.clone()
    add_scoring_outputs(scoring)
    ir.save(scoring, directory / "graph.onnx")
    table = model.graph.initializers["head.decoder.bias"]
    assert table.shape is not None
    return graph_logprobs(OnnxGraph(directory / "graph.onnx"), int(str(table.shape[0])))


@pytest.fixture(scope="module")
def divergence(model: ir.Model, batches: list[MaskedBatch], tmp_path_factory: pytest.TempPathFactory) -> Divergence:
    return Divergence.of_graph(
        model,
        ReferenceLogprobs(
            logprobs(model, tmp_path_factory.mktemp("fp32")), batches, tmp_path_factory.mktemp("answers")
        ),
    )


@pytest.fixture(scope="module")
def sensitivities(model: ir.Model, plan: Plan, divergence: Divergence) -> dict[str, Sensitivity]:
    return measure_sensitivity(plan, divergence)


@pytest.fixture(scope="module")
def chosen(plan: Plan, sensitivities: dict[str, Sensitivity]) -> frozenset[str]:
    return with_second_terms(plan, sensitivities).two_term


def test_divergence_is_that_of_the_comparison(
    model: ir.Model, plan: Plan, batches: list[MaskedBatch], divergence: Divergence, tmp_path: Path
) -> None:
    reference = logprobs(model, tmp_path)
    (tmp_path / "int8").mkdir()
    candidate = model.clone()
    quantize(candidate, plan)
    expected = compare(reference, logprobs(candidate, tmp_path / "int8"), batches).mean_kl.value
    assert divergence(plan) == pytest.approx(expected, rel=1e-5)


def test_going_on_from_a_stage_diverges_as_the_whole_graph_does(
    model: ir.Model, plan: Plan, divergence: Divergence
) -> None:
    names: list[str] = []
    for stage, rest in divergence.by_stage(plan):
        finer = replace(plan, two_term=frozenset(stage.activations))
        assert rest(finer) == pytest.approx(divergence(finer), rel=1e-5)
        assert rest(finer) != pytest.approx(divergence(plan), rel=1e-5)
        names += stage.activations
    assert names == list(matmul_inputs(model))


def test_the_activation_that_loses_most_is_chosen(model: ir.Model, chosen: frozenset[str]) -> None:
    assert attention_output(model) in chosen


def test_extra_work_stays_within_its_share(model: ir.Model, chosen: frozenset[str]) -> None:
    work = {str(name): 0.0 for name in matmul_inputs(model)}
    for matmul in weight_matmuls(model):
        assert matmul.activation.shape is not None
        share = TOKENS_PER_MASK if matmul.activation.shape[1] == "masks" else 1
        work[matmul.input] += matmul.weight.size / share
    assert 0 < sum(work[name] for name in chosen) <= MOST_EXTRA_WORK * sum(work.values())


def test_a_second_term_is_worth_three_times_its_work(plan: Plan) -> None:
    gains = {"too little": 0.029, "enough": 0.031, "none of nothing": 0.0}
    found = {name: Sensitivity(gain, 0.01, 0.0 if gain == 0.0 else 1.0) for name, gain in gains.items()}
    assert with_second_terms(plan, found).two_term == {"enough"}


def test_two_terms_bring_the_predictions_closer(
    plan: Plan, chosen: frozenset[str], divergence: Divergence, sensitivities: dict[str, Sensitivity]
) -> None:
    assert divergence(with_second_terms(plan, sensitivities)) < divergence(plan) / 2


def test_the_gate_is_approached_with_second_terms_then_with_fp32(
    plan: Plan, sensitivities: dict[str, Sensitivity], divergence: Divergence
) -> None:
    order = list(sensitivities)
    coarse = divergence(plan)
    assert (
        refined_to_gate(plan, order, partial(divergence.is_within, Limits(mean_kl=1.001 * coarse / GATE_MARGIN)))
        == plan
    )
    finer = refined_to_gate(plan, order, partial(divergence.is_within, Limits(mean_kl=coarse / 2 / GATE_MARGIN)))
    assert divergence(finer) <= coarse / 2
    assert finer.two_term == frozenset(order[: len(finer.two_term)])
    assert len(finer.two_term) % ACTIVATIONS_A_TRY == 0
    assert not finer.fp32
    best = refined_to_gate(plan, order, lambda candidate: False)
    assert best.fp32 == best.two_term == frozenset(order)
    assert divergence(best) < divergence(finer)


def test_best_tokens_count_as_the_divergence_does(
    model: ir.Model, plan: Plan, divergence: Divergence, tmp_path: Path
) -> None:
    candidate = model.clone()
    quantize(candidate, plan)
    found, expected = logprobs(candidate, tmp_path), divergence.reference
    pairs = zip(found(expected.batches), expected.logprobs, strict=True)
    same = np.concatenate([answer.argmax(-1) == known.argmax(-1) for answer, known in pairs]).mean()
    assert 0 < same < 1
    assert divergence.is_within(Limits(top1_agreement=1 - (1 - same + 1e-9) / GATE_MARGIN), plan)
    assert not divergence.is_within(Limits(top1_agreement=1 - (1 - same - 1e-9) / GATE_MARGIN), plan)
