"""Golden vectors replayed: whether a bundle's graph computes on this machine what it computed where it was made."""

import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maskedge.bundle.cpu import CpuFeatures
from maskedge.bundle.engine import EngineName, Graph, graph_inputs
from maskedge.bundle.format import GoldenVector, GraphEntry
from maskedge.errors import Int8SaturationWarning

__all__ = ["TOLERANCE", "Verification", "choose_precision", "padding_is_exact", "replay", "tolerance_of"]

TOLERANCE = {"fp32": 1e-3, "int8": 0.2}
"""Largest difference of a recorded log-probability, nats, by the first part of the precision's name.

Other kernels change fp32 by some 1e-6 (measured: all of onnxruntime's optimizers on and off). In int8 so small a change
moves some activations to a neighbouring level, and log-probabilities of the bundled model by up to 0.05; saturation,
emulated, changes them by up to 2.3 and the model's pseudo-perplexity by 8 %.
"""

SEVEN_BIT = "int8-avx2"
"""The graph whose weights have 7 bits, so that no sum of products saturates."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What replaying a graph's golden vectors found on this CPU."""

    precision: str
    """The name of the graph that was run."""
    vectors: int
    """How many golden vectors were replayed."""
    max_logprob_difference: float
    """The largest |difference| from a recorded log-probability, nats."""
    same_best_tokens: bool
    """Whether the most probable token of every mask is the recorded one."""
    tolerance: float
    """The largest difference that rounding explains, nats: `TOLERANCE`."""
    cpu: CpuFeatures
    """What this CPU can multiply 8-bit integers with."""
    engine: EngineName = "onnxruntime"
    """What ran the graph."""

    @property
    def passed(self) -> bool:
        """Whether rounding explains all differences. A best token may differ all the same, where two tokens are almost
        equally probable."""
        return self.max_logprob_difference <= self.tolerance

    @property
    def saturates(self) -> bool:
        """Whether 8-bit sums saturate here: rounding does not explain the differences, and this is a CPU where such
        sums can saturate, or one that is not known. The graph with 7-bit weights never saturates."""
        can = self.precision.startswith("int8") and self.precision != SEVEN_BIT
        return can and not self.passed and (self.cpu.int8_saturates or not self.cpu.known)


def replay(
    graph: Graph,
    precision: str,
    golden: tuple[GoldenVector, ...],
    cpu: CpuFeatures,
    engine: EngineName = "onnxruntime",
) -> Verification:
    """What running a precision's golden vectors on its graph, one at a time, finds in comparison with the record."""
    found = [_replay_one(graph, vector) for vector in golden]
    return Verification(
        precision=precision,
        vectors=len(found),
        max_logprob_difference=max((difference for difference, _ in found), default=0.0),
        same_best_tokens=all(same for _, same in found),
        tolerance=tolerance_of(precision),
        cpu=cpu,
        engine=engine,
    )


def tolerance_of(precision: str) -> float:
    """The largest difference that rounding explains in a precision's log-probabilities, nats."""
    return TOLERANCE.get(precision.partition("-")[0], TOLERANCE["int8"])


def _replay_one(graph: Graph, vector: GoldenVector) -> tuple[float, bool]:
    """The largest difference at the recorded tokens, nats, and whether the best tokens are the recorded ones."""
    recorded = np.array(vector.top_ids, np.int64)  # [masks, 5]
    inputs = graph_inputs([vector.input_ids], [vector.mask_positions], recorded[np.newaxis], top_k=1)
    outputs = graph.run(["target_logprobs", "top_ids"], inputs)
    found, expected = np.asarray(outputs["target_logprobs"][0], np.float64), np.array(vector.top_logprobs)
    difference = np.abs(np.subtract(found, expected, out=np.zeros_like(found), where=found != expected))  # -inf twice
    worst = float(np.where(np.isnan(difference), np.inf, difference).max())
    return worst, bool(np.array_equal(outputs["top_ids"][0][:, 0], recorded[:, 0]))


def padding_is_exact(graph: Graph, golden: tuple[GoldenVector, ...]) -> bool:
    """Whether texts that the graph may pad keep their bits: in each group of lengths the shortest golden vector, padded
    to the longest. False where no two are of one group."""
    groups: defaultdict[int, list[GoldenVector]] = defaultdict(list)
    for vector in sorted(golden, key=lambda vector: len(vector.input_ids)):
        groups[len(vector.input_ids) // graph.padding.group].append(vector)
    ends = [(group[0], len(group[-1].input_ids)) for group in groups.values()]
    padded = [(shortest, length) for shortest, length in ends if length > len(shortest.input_ids)]
    return bool(padded) and all(_is_exact(graph, *each) for each in padded)


def _is_exact(graph: Graph, vector: GoldenVector, length: int) -> bool:
    """Whether a vector has the same bits when it is padded to so many tokens."""
    names = ["top_logprobs", "entropy"]
    masks = ([vector.mask_positions], [[[0]] * len(vector.mask_positions)])
    alone = graph.run(names, graph_inputs([vector.input_ids], *masks, top_k=5))
    own = len(vector.input_ids)
    inputs = graph_inputs([[*vector.input_ids, *[0] * (length - own)]], *masks, top_k=5)
    padded = graph.run(names, inputs | {"lengths": np.array([own])})
    return all(np.array_equal(alone[name], padded[name], equal_nan=True) for name in names)


def choose_precision(graphs: Mapping[str, GraphEntry], precision: str | None, cpu: CpuFeatures) -> str | None:
    """The precision to open on this CPU; None for the bundle's default.

    It is the one asked for, or the bundle's default. Where that default is int8 and its sums saturate on this CPU, it
    is the graph with 7-bit weights if the bundle has one, else the fp32 graph. The CPU's flags decide; nothing is run.
    Warns with Int8SaturationWarning where scores may be wrong, or fp32 makes them slow.
    """
    chosen = precision or next(iter(graphs))
    if chosen != "int8" or not cpu.int8_saturates:
        return precision
    if precision is None and SEVEN_BIT in graphs:
        return SEVEN_BIT
    if precision is None and "fp32" in graphs:
        _warn(f"its fp32 graph is used instead, several times slower; a bundle with an {SEVEN_BIT!r} graph is fast")
        return "fp32"
    _warn(f"scores may be wrong; `Predictor.verify()` says by how much; use a bundle's {SEVEN_BIT!r} or 'fp32' graph")
    return chosen


def _warn(consequence: str) -> None:
    message = f"this CPU has no VNNI instructions, so that sums of the int8 graph saturate: {consequence}"
    warnings.warn(message, Int8SaturationWarning, stacklevel=4)
