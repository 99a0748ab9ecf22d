"""Which activations lose most by having 256 steps only: those get a second term, and more do if the gate needs it."""

import math
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import onnx_ir as ir

from maskedge.arrays import BoolArray, Float32Array, Float64Array
from maskedge.bundle.engine import OnnxGraph
from maskedge_export.evaluation.comparison import kl_divergence
from maskedge_export.evaluation.gate import Limits
from maskedge_export.evaluation.logprobs import Logprobs, cached_logprobs, graph_logprobs
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.matmuls import weight_matmuls
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs
from maskedge_export.in_order import in_order
from maskedge_export.memory import release_memory
from maskedge_export.quantization.qdq import Plan, quantize

__all__ = [
    "GATE_MARGIN",
    "Divergence",
    "ReferenceLogprobs",
    "Sensitivity",
    "measure_sensitivity",
    "refined_to_gate",
    "with_second_terms",
]

MOST_EXTRA_WORK = 0.15
"""Share of the graph's integer work that may be done twice, unless the gate cannot be passed otherwise."""

TOKENS_PER_MASK = 20
"""How many tokens a sentence has for each mask: work at masks only counts by so much less than work at every token."""

LONGEST = 64
"""Most tokens of a text that is measured on: longer ones would take most of the time and say the same."""

COMPARED_MASKS = 512
"""Masks that are measured on. With 256 the choice was left to a few rare tokens."""

TYPICAL = 0.99
"""Share of the masks by which activations are compared, those that diverge most being left out. With all of them, five
masks of 512 said that finer steps in the first layer made it worse."""

GATE_MARGIN = 0.8
"""Share of the gate's limits that is aimed at, since other text may come out worse."""

ACTIVATIONS_A_TRY = 4
"""How many more activations are changed before the next measurement, on the way to the gate."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a second term of one activation brings and costs, all others being as planned."""

    gain: float
    """By how much it lowers the mean KL divergence from the reference, nats."""
    work: float
    """Share of the graph's work that its MatMuls are, for one token."""


class ReferenceLogprobs:
    """A reference's log-probabilities of masked tokens of calibration text, which candidates are compared with.

    They are kept in a directory, since large vocabularies would fill the memory.
    """

    def __init__(self, reference: Logprobs, batches: Sequence[MaskedBatch], directory: Path) -> None:
        short = [batch for batch in batches if batch.input_ids.shape[1] <= LONGEST]
        self.batches = _sample(short or batches)
        self._cached = cached_logprobs(reference, self.batches, directory / "reference")

    @property
    def logprobs(self) -> Iterator[Float32Array]:
        """Of each batch [batch, vocabulary], nats."""
        return (logprobs.astype(np.float32) for logprobs in self._cached(self.batches))

    @property
    def vocab_size(self) -> int:
        """Tokens that have a log-probability."""
        return int(next(self.logprobs).shape[-1])


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far the graph of a plan lies from the reference, on the same masked tokens of calibration text."""

    model: ir.Model
    reference: ReferenceLogprobs

    def __call__(self, plan: Plan) -> float:
        """Mean KL at all masks, nats."""
        return float(self._by_mask(plan)[0].mean())

    def typical(self, plan: Plan) -> float:
        """Mean KL at the TYPICAL share of the masks, those that diverge most left out, nats."""
        found = np.sort(self._by_mask(plan)[0])
        return float(found[: math.ceil(TYPICAL * len(found))].mean())

    def is_within(self, limits: Limits, plan: Plan) -> bool:
        """Whether the mean KL and the share of other best tokens are at most GATE_MARGIN of their limits."""
        kl, same_best = self._by_mask(plan)
        others = 1 - same_best.mean()
        return bool(kl.mean() <= GATE_MARGIN * limits.mean_kl and others <= GATE_MARGIN * (1 - limits.top1_agreement))

    def _by_mask(self, plan: Plan) -> tuple[Float64Array, BoolArray]:
        """The KL at each mask, and whether its best token is the reference's."""
        release_memory()  # the last candidate's
        candidate = self._candidate_logprobs(plan)(self.reference.batches)
        found = [_compared(p, q) for p, q in zip(self.reference.logprobs, candidate, strict=True)]
        kl, same_best = (np.concatenate(column) for column in zip(*found, strict=True))
        return kl, same_best

    def _candidate_logprobs(self, plan: Plan) -> Logprobs:
        """The log-probabilities that the plan's graph gives."""
        candidate = self.model.clone()
        quantize(candidate, plan)
        add_scoring_outputs(candidate, self.reference.vocab_size)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "candidate.onnx"
            ir.save(candidate, path, external_data="candidate.onnx.data")
            return graph_logprobs(OnnxGraph(path), self.reference.vocab_size)


def _compared(p: Float32Array, q: Float64Array) -> tuple[Float64Array, BoolArray]:
    """The KL divergence of q from p at each mask, nats, and whether their best tokens are the same."""
    return kl_divergence(p, q), p.argmax(-1) == q.argmax(-1)


def measure_sensitivity(model: ir.Model, plan: Plan, divergence: Callable[[Plan], float]) -> dict[str, Sensitivity]:
    """What a second term brings each activation, by its name: those that gain most for their work first.

    Args:
        model: The fp32 graph.
        plan: What all other activations are like.
        divergence: Of a plan's graph from the reference, nats.
    """
    coarse, work = divergence(plan), _work(model)
    # Each on its own: a graph is made and run for every activation, one being made while another runs.
    finer = (replace(plan, two_term=plan.two_term | {name}) for name in work)
    gains = zip(work.items(), in_order(divergence, finer), strict=True)
    found = {name: Sensitivity(coarse - close, share) for (name, share), close in gains}
    return dict(sorted(found.items(), key=lambda item: -item[1].gain / item[1].work))


def with_second_terms(plan: Plan, sensitivities: Mapping[str, Sensitivity]) -> Plan:
    """The plan with two terms for the activations that gain most for their work, within MOST_EXTRA_WORK.

    Args:
        plan: The plan to begin with.
        sensitivities: As `measure_sensitivity` orders them.
    """
    # Greedy: what no longer fits is passed over, and smaller ones after it may still fit.
    chosen: set[str] = set()
    for name, found in sensitivities.items():
        spent = sum(sensitivities[other].work for other in chosen)
        if found.gain > 0 and spent + found.work <= MOST_EXTRA_WORK:
            chosen.add(name)
    return replace(plan, two_term=plan.two_term | chosen)


def refined_to_gate(plan: Plan, order: Sequence[str], is_close: Callable[[Plan], bool]) -> Plan:
    """The first plan that is close to the reference, among ever finer and slower ones; the last where none is.

    Args:
        plan: The plan to begin with.
        order: Activations, in the order in which they are made finer.
        is_close: Whether a plan's graph is within the gate, as `Divergence.is_within` says.
    """
    # First two terms for ever more activations; where two terms for all are not enough, the MatMuls of ever more
    # activations stay in fp32.
    steps = [frozenset(order[: count + ACTIVATIONS_A_TRY]) for count in range(0, len(order), ACTIVATIONS_A_TRY)]
    finer = [replace(plan, two_term=plan.two_term | step) for step in steps]
    all_two_term = finer[-1] if finer else plan
    tried = [plan, *finer, *(replace(all_two_term, fp32=plan.fp32 | step) for step in steps)]
    return next((candidate for candidate in tried if is_close(candidate)), tried[-1])


def _sample(batches: Sequence[MaskedBatch]) -> list[MaskedBatch]:
    """Batches of all lengths, drawn with a fixed seed, with about COMPARED_MASKS masks in all."""
    shuffled = random.Random(0).sample(list(batches), len(batches))
    masks = accumulate((len(batch.targets) for batch in shuffled), initial=0)
    return [batch for batch, before in zip(shuffled, masks, strict=False) if before < COMPARED_MASKS]


def _work(model: ir.Model) -> dict[str, float]:
    """Each activation's share of the graph's work for a token: the sizes of the weights that it is multiplied with."""
    sizes: dict[str, float] = {}
    for matmul in weight_matmuls(model):
        size = math.prod(matmul.shape) / (TOKENS_PER_MASK if matmul.at_masks else 1)
        sizes[matmul.input] = sizes.get(matmul.input, 0.0) + size
    total = sum(sizes.values())
    return {name: size / total for name, size in sizes.items()}
