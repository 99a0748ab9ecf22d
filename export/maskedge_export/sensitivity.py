"""Which activations lose most by having 256 steps only: those are given two terms."""

import random
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import onnx_ir as ir

from maskedge.engine import OnnxGraph
from maskedge_export.calibration import Batch
from maskedge_export.graph import add_scoring_outputs
from maskedge_export.quantization import ActivationSample, matmul_inputs, quantize, weight_matmuls
from maskedge_export.verification import Logprobs, compare, graph_logprobs

__all__ = ["finer_activations"]

MOST_EXTRA_WORK = 0.15
"""Share of the graph's integer products that may be done twice."""

TOKENS_PER_MASK = 20
"""How much rarer products at masks are than products at every token: a sentence has about as many tokens."""

LONGEST = 64
"""Tokens of the texts that are measured on: longer ones would take most of the time and say the same."""

CELLS = 512
"""Masks that are measured on. With 256 the choice was left to a few rare tokens."""


def finer_activations(
    model: ir.Model, samples: Mapping[str, ActivationSample], reference: Logprobs, batches: Sequence[Batch]
) -> frozenset[str]:
    """Names of the activations that lower the divergence from the reference most, within the extra work allowed.

    Each is tried alone, all others having one term.
    """
    batches = _sample([batch for batch in batches if batch.input_ids.shape[1] <= LONGEST])
    expected = [reference(batch) for batch in batches]

    def divergence(fine: Container[str]) -> float:
        return _mean_kl(model, samples, fine, expected, batches)

    return _within_budget(_gains(matmul_inputs(model), divergence), _work(model))


def _sample(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of all lengths with about CELLS masks in all."""
    shuffled = random.Random(0).sample(list(batches), len(batches))
    cells = accumulate((len(batch.targets) for batch in shuffled), initial=0)
    return [batch for batch, before in zip(shuffled, cells, strict=False) if before < CELLS]


def _gains(names: Mapping[str, object], divergence: Callable[[Container[str]], float]) -> dict[str, float]:
    """By how many nats each activation's second term lowers the mean KL; only those that do, the largest first."""
    coarse = divergence(())
    gains = {name: coarse - divergence({name}) for name in names}
    return {name: gain for name, gain in sorted(gains.items(), key=lambda item: -item[1]) if gain > 0}


def _within_budget(gains: Mapping[str, float], work: Mapping[str, float]) -> frozenset[str]:
    chosen: set[str] = set()
    for name in sorted(gains, key=lambda name: -gains[name] / work[name]):
        if sum(work[other] for other in (*chosen, name)) <= MOST_EXTRA_WORK:
            chosen.add(name)
    return frozenset(chosen)


def _work(model: ir.Model) -> dict[str, float]:
    """Each activation's share of the products of one token: the sizes of the weights that it is multiplied with."""
    sizes: dict[str, float] = {}
    for node in weight_matmuls(model):
        x, product = node.inputs[0], node.outputs[0]
        assert x is not None
        assert x.shape is not None
        assert product.shape is not None
        size = float(str(x.shape[-1])) * float(str(product.shape[-1]))
        at_masks = x.shape[1] == "masks"
        sizes[str(x.name)] = sizes.get(str(x.name), 0.0) + size / (TOKENS_PER_MASK if at_masks else 1)
    total = sum(sizes.values())
    return {name: size / total for name, size in sizes.items()}


def _mean_kl(
    model: ir.Model,
    samples: Mapping[str, ActivationSample],
    fine: Container[str],
    expected: Sequence[np.ndarray],
    batches: Sequence[Batch],
) -> float:
    candidate = model.clone()
    quantize(candidate, samples, fine)
    add_scoring_outputs(candidate)
    remaining = iter(expected)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "candidate.onnx"
        ir.save(candidate, path, external_data="candidate.onnx.data")
        graph = OnnxGraph(path)
    logprobs = graph_logprobs(graph, expected[0].shape[-1])
    return compare(lambda batch: next(remaining), logprobs, batches).mean_kl.value
