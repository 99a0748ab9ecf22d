"""Two terms go where one loses most, and no further than the extra work allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from maskedge.engine import OnnxGraph
from maskedge_export.calibration import Batch
from maskedge_export.families import native_encoder
from maskedge_export.graph import add_scoring_outputs, encoder_graph
from maskedge_export.quantization import ActivationSample, matmul_inputs, observe_activations, quantize, weight_matmuls
from maskedge_export.sensitivity import MOST_EXTRA_WORK, TOKENS_PER_MASK, finer_activations
from maskedge_export.verification import Logprobs, compare, graph_logprobs

TOO_WIDE = 64
"""How many times wider than needed the spoilt activation's range is made: 6 of its 8 bits are lost."""


@pytest.fixture(scope="module")
def batches(masked_ids: Callable[..., Any]) -> list[Batch]:
    texts = [masked_ids(300, batch=16, length=length, masks=1) for length in (6, 9, 15)]
    return [Batch(ids.numpy(), at.numpy(), np.ones_like(at.numpy())) for ids, at in texts]


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Any]) -> ir.Model:
    bert = make_model("bert")
    return encoder_graph(native_encoder(bert.config, bert.state_dict()))


@pytest.fixture(scope="module")
def samples(model: ir.Model, batches: list[Batch], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is seen of every activation; the first attention's output is said to reach much further than it does."""
    probe = model.clone()
    probe.graph.outputs.extend(matmul_inputs(probe).values())
    path = tmp_path_factory.mktemp("probe") / "probe.onnx"
    ir.save(probe, path)
    samples = observe_activations(path, matmul_inputs(model), batches)
    seen = samples[attention_output(model)]
    samples[attention_output(model)] = Spoilt(seen.low * TOO_WIDE, seen.high * TOO_WIDE, seen.rows)
    return samples


class Spoilt(ActivationSample):
    """An activation whose range is taken as it is said to be."""

    @property
    def best_range(self) -> Any:
        from maskedge_export.quantization import Range

        return Range(self.low, self.high)


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
def chosen(
    model: ir.Model, samples: dict[str, Any], batches: list[Batch], tmp_path_factory: pytest.TempPathFactory
) -> frozenset[str]:
    return finer_activations(model, samples, logprobs(model, tmp_path_factory.mktemp("fp32")), batches)


def test_the_activation_that_loses_most_is_chosen(model: ir.Model, chosen: frozenset[str]) -> None:
    assert attention_output(model) in chosen


def test_extra_work_stays_within_its_share(model: ir.Model, chosen: frozenset[str]) -> None:
    work = {str(name): 0.0 for name in matmul_inputs(model)}
    for node in weight_matmuls(model):
        x, weight = node.inputs[0], node.inputs[1]
        assert x is not None
        assert weight is not None
        if weight.shape is None:
            continue  # the tied head, which runs at masks and was not chosen
        elements = float(np.prod([int(str(size)) for size in weight.shape]))  # type: ignore[union-attr]
        work[str(x.name)] += elements / (TOKENS_PER_MASK if x.shape[1] == "masks" else 1)  # type: ignore[index]

    assert 0 < sum(work[name] for name in chosen) <= MOST_EXTRA_WORK * sum(work.values())


def test_two_terms_bring_the_predictions_closer(
    model: ir.Model, samples: dict[str, Any], batches: list[Batch], chosen: frozenset[str], tmp_path: Path
) -> None:
    divergences = []
    for name, fine in (("coarse", frozenset[str]()), ("fine", chosen)):
        directory = tmp_path / name
        directory.mkdir()
        candidate = model.clone()
        quantize(candidate, samples, fine)
        reference = logprobs(model, directory)
        divergences.append(compare(reference, logprobs(candidate, directory), batches).mean_kl.value)

    assert divergences[1] < divergences[0] / 2
