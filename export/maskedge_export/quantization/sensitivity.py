"""Which activations lose most by having 256 steps only: those get a second term, and more do if the gate needs it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from maskedge_export.graphs.matmuls import weight_matmuls
from maskedge_export.in_order import in_order
from maskedge_export.quantization.divergence import Divergence
from maskedge_export.quantization.qdq import Plan

__all__ = ["Sensitivity", "measure_sensitivity", "refined_to_gate", "with_second_terms"]

MOST_EXTRA_WORK = 0.15
"""Share of the graph's integer work that may be done twice, unless the gate cannot be passed otherwise."""

TOKENS_PER_MASK = 20
"""How many tokens a sentence has for each mask: work at masks only counts by so much less than work at every token."""

WORTH = 3.0
"""How many times the share of the work that it adds is the share of the divergence that a second term has to take away.
Of the default model such terms took 29 % away for 3.5 % more work; another 10 % would have taken away 7 % more."""

ACTIVATIONS_A_TRY = 4
"""How many more activations are changed before the next measurement, on the way to the gate."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a second term of one activation brings and costs, all others being as planned."""

    gain: float
    """By how much it lowers the mean KL divergence from the reference, nats."""
    work: float
    """Share of the graph's work that its MatMuls are, for one token."""
    coarse: float
    """The divergence without it, nats."""

    @property
    def is_worth_it(self) -> bool:
        """Whether it takes away WORTH times the share of the divergence that it adds of the work."""
        return self.gain > 0 and self.gain >= WORTH * self.work * self.coarse


def measure_sensitivity(plan: Plan, divergence: Divergence) -> dict[str, Sensitivity]:
    """What a second term brings each activation, by its name: those that gain most for their work first.

    Args:
        plan: What all other activations are like.
        divergence: Of plans of the graph.
    """
    work, coarse = _work(divergence.model), divergence.typical(plan)
    # Each on its own: the rest of a graph is made and run for every activation, one being made while another runs.
    candidates = ((name, rest) for stage, rest in divergence.by_stage(plan) for name in stage.activations)
    finer = ((rest, replace(plan, two_term=plan.two_term | {name})) for name, rest in candidates)
    found = {
        name: Sensitivity(coarse - close, share, coarse)
        for (name, share), close in zip(work.items(), in_order(_typical, finer), strict=True)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].gain / item[1].work))


def _typical(asked: tuple[Divergence, Plan]) -> float:
    divergence, plan = asked
    return divergence.typical(plan)


def with_second_terms(plan: Plan, sensitivities: Mapping[str, Sensitivity]) -> Plan:
    """The plan with two terms for the activations that gain most for their work, as far as they are worth it, within
    MOST_EXTRA_WORK.

    Args:
        plan: The plan to begin with.
        sensitivities: As `measure_sensitivity` orders them.
    """
    # Greedy: what no longer fits is passed over, and smaller ones after it may still fit.
    chosen: set[str] = set()
    for name, found in sensitivities.items():
        spent = sum(sensitivities[other].work for other in chosen)
        if found.is_worth_it and spent + found.work <= MOST_EXTRA_WORK:
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


def _work(model: ir.Model) -> dict[str, float]:
    """Each activation's share of the graph's work for a token: the sizes of the weights that it is multiplied with."""
    sizes: dict[str, float] = {}
    for matmul in weight_matmuls(model):
        size = math.prod(matmul.shape) / (TOKENS_PER_MASK if matmul.at_masks else 1)
        sizes[matmul.input] = sizes.get(matmul.input, 0.0) + size
    total = sum(sizes.values())
    return {name: size / total for name, size in sizes.items()}
