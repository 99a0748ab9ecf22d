"""Which activations lose most by having 256 steps only: those are given two terms, and the rest what the gate asks."""

import math
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from maskedge.engine import OnnxGraph
from maskedge_export.calibration import Batch
from maskedge_export.graph import add_scoring_outputs
from maskedge_export.products import weight_products
from maskedge_export.quantization import Plan, quantize
from maskedge_export.verification import Logprobs, graph_logprobs

__all__ = ["Sensitivity", "measure_sensitivity", "refined", "until_close"]

MOST_EXTRA_WORK = 0.15
"""Share of the graph's integer products that may be done twice, unless the gate cannot be passed otherwise."""

TOKENS_PER_MASK = 20
"""How much rarer products at masks are than products at every token: a sentence has about as many tokens."""

LONGEST = 64
"""Tokens of the texts that are measured on: longer ones would take most of the time and say the same."""

CELLS = 512
"""Masks that are measured on. With 256 the choice was left to a few rare tokens."""

TYPICAL = 0.99
"""Share of the cells by which activations are compared. With all, five cells of 512 said that finer steps in the
first layer made it worse."""

AT_ONCE = 4
"""Activations that are changed between two measurements, on the way to the gate."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What an activation's second term does for the predictions, all others being as planned."""

    gain: float
    """By how much it lowers the mean KL divergence from the reference, nats."""
    work: float
    """Its products' share of the graph's, for one token."""


class Divergence:
    """How far a plan's graph lies from the reference: mean KL on the same cells of calibration text, nats."""

    def __init__(self, model: ir.Model, reference: Logprobs, batches: Sequence[Batch]) -> None:
        self.model = model
        self.batches = _sample([batch for batch in batches if batch.input_ids.shape[1] <= LONGEST] or batches)
        self.expected = [reference(batch) for batch in self.batches]

    def __call__(self, plan: Plan) -> float:
        """Of all cells: what the gate looks at."""
        return float(self._by_cell(plan).mean())

    def typical(self, plan: Plan) -> float:
        """Of all but the cells that diverge most: a handful of them would decide every choice between plans."""
        found = np.sort(self._by_cell(plan))
        return float(found[: math.ceil(TYPICAL * len(found))].mean())

    def _by_cell(self, plan: Plan) -> npt.NDArray[np.float64]:
        candidate, vocab_size = self.model.clone(), self.expected[0].shape[-1]
        quantize(candidate, plan)
        add_scoring_outputs(candidate, vocab_size)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "candidate.onnx"
            ir.save(candidate, path, external_data="candidate.onnx.data")
            logprobs = graph_logprobs(OnnxGraph(path), vocab_size)
        pairs = zip(self.expected, self.batches, strict=True)
        return np.concatenate([(np.exp(p) * (p - logprobs(batch))).sum(-1) for p, batch in pairs])


def measure_sensitivity(model: ir.Model, plan: Plan, divergence: Callable[[Plan], float]) -> dict[str, Sensitivity]:
    """Of each activation of the plan's products, tried alone; those that gain most for their work first."""
    coarse, work = divergence(plan), _work(model)
    found = {
        name: Sensitivity(coarse - divergence(replace(plan, fine=plan.fine | {name})), work[name]) for name in work
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].gain / item[1].work))


def refined(plan: Plan, sensitivities: Mapping[str, Sensitivity]) -> Plan:
    """The plan with two terms for the activations that gain most for their work, within the extra work allowed."""
    chosen: set[str] = set()
    for name, found in sensitivities.items():
        spent = sum(sensitivities[other].work for other in chosen)
        if found.gain > 0 and spent + found.work <= MOST_EXTRA_WORK:
            chosen.add(name)
    return replace(plan, fine=plan.fine | chosen)


def until_close(plan: Plan, order: Sequence[str], divergence: Callable[[Plan], float], goal: float) -> Plan:
    """The plan with two terms for so many more activations, in that order, that the divergence is at most the goal.

    Where two terms for all are not enough, products stay in fp32, in the same order: slower, but near.
    """
    finer = [replace(plan, fine=plan.fine | set(order[: count + AT_ONCE])) for count in range(0, len(order), AT_ONCE)]
    all_fine = finer[-1] if finer else plan
    exact = [
        replace(all_fine, exact=plan.exact | set(order[: count + AT_ONCE])) for count in range(0, len(order), AT_ONCE)
    ]
    tried = [plan, *finer, *exact]
    return next((candidate for candidate in tried if divergence(candidate) <= goal), tried[-1])


def _sample(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of all lengths with about CELLS masks in all."""
    shuffled = random.Random(0).sample(list(batches), len(batches))
    cells = accumulate((len(batch.targets) for batch in shuffled), initial=0)
    return [batch for batch, before in zip(shuffled, cells, strict=False) if before < CELLS]


def _work(model: ir.Model) -> dict[str, float]:
    """Each activation's share of the products of one token: the sizes of the weights that it is multiplied with."""
    sizes: dict[str, float] = {}
    for product in weight_products(model):
        size = product.weight.size / (TOKENS_PER_MASK if product.at_masks else 1)
        sizes[product.input] = sizes.get(product.input, 0.0) + size
    total = sum(sizes.values())
    return {name: size / total for name, size in sizes.items()}
