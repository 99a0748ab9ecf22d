"""How far a quantized graph is from what it was made from, measured on some of the calibration text."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import onnx_ir as ir

from maskedge.arrays import BoolArray, Float32Array, Float64Array
from maskedge_export.evaluation.comparison import kl_divergence
from maskedge_export.evaluation.gate import Limits
from maskedge_export.evaluation.logprobs import Logprobs, cached_logprobs
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.stages import KeptValues, Stage, Values, computed, part, stages
from maskedge_export.memory import release_memory
from maskedge_export.quantization.qdq import Plan, quantize

__all__ = ["GATE_MARGIN", "Divergence", "ReferenceLogprobs"]

LONGEST = 24
"""Most tokens of a text that is measured on: longer ones would take most of the time and say the same. With 40 the same
activations of the default model were chosen, from news, in a third more time."""

COMPARED_MASKS = 512
"""Masks that are measured on. With 256 the choice was left to a few rare tokens."""

TYPICAL = 0.99
"""Share of the masks by which activations are compared, those that diverge most being left out. With all of them, five
masks of 512 said that finer steps in the first layer made it worse."""

GATE_MARGIN = 0.8
"""Share of the gate's limits that is aimed at, since other text may come out worse."""


class ReferenceLogprobs:
    """A reference's log-probabilities of masked tokens of calibration text, which candidates are compared with.

    They are kept in a directory, since large vocabularies would fill the memory.
    """

    def __init__(self, reference: Logprobs, batches: Sequence[MaskedBatch], directory: Path) -> None:
        short = [batch for batch in batches if batch.input_ids.shape[1] <= LONGEST]
        self.batches = _sample(short or batches)
        self._cached = cached_logprobs(reference, self.batches, directory / "reference")

    @property
    def inputs(self) -> list[Values]:
        """What a graph takes, of each batch."""
        return [batch.inputs for batch in self.batches]

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
    """The fp32 graph, or what is left of it from a stage on; it ends in logits."""
    reference: ReferenceLogprobs
    values: Iterable[Values]
    """What it takes, of each batch."""

    @classmethod
    def of_graph(cls, model: ir.Model, reference: ReferenceLogprobs) -> "Divergence":
        """Of plans for a whole graph."""
        return cls(model, reference, reference.inputs)

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

    def by_stage(self, plan: Plan) -> Iterator[tuple[Stage, "Divergence"]]:
        """The graph's stages, and the divergence of plans that are like this one in all stages before."""
        gives, values = [str(value.name) for value in self.model.graph.outputs], self.values
        for stage in stages(self.model):
            yield stage, Divergence(part(self.model, stage.takes, gives), self.reference, values)
            handed_on = KeptValues(stage.hands_on)
            for found in computed(_quantized(part(self.model, stage.takes, stage.hands_on), plan), values):
                handed_on.append(found)
            values = handed_on

    def _by_mask(self, plan: Plan) -> tuple[Float64Array, BoolArray]:
        """The KL at each mask, and whether its best token is the reference's."""
        release_memory()  # the last candidate's
        answers = computed(_quantized(self.model, plan), self.values)
        found = [self._compared(p, q) for p, q in zip(self.reference.logprobs, answers, strict=True)]
        kl, same_best = (np.concatenate(column) for column in zip(*found, strict=True))
        return kl, same_best

    def _compared(self, p: Float32Array, answer: Values) -> tuple[Float64Array, BoolArray]:
        """The KL divergence of an answer from p at each mask, nats, and whether their best tokens are the same."""
        logits = answer[str(self.model.graph.outputs[0].name)][:, 0]
        shifted = logits - logits.max(-1, keepdims=True)
        # In single precision but for the sum: over a large vocabulary it takes a tenth of double precision's time.
        total = np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64)
        q = (shifted - np.log(total).astype(np.float32))[:, : p.shape[-1]]
        return kl_divergence(p, q), p.argmax(-1) == q.argmax(-1)


def _quantized(model: ir.Model, plan: Plan) -> ir.Model:
    quantized = model.clone()
    quantize(quantized, plan)
    return quantized


def _sample(batches: Sequence[MaskedBatch]) -> list[MaskedBatch]:
    """Batches of all lengths, drawn with a fixed seed, with about COMPARED_MASKS masks in all."""
    shuffled = random.Random(0).sample(list(batches), len(batches))
    masks = accumulate((len(batch.targets) for batch in shuffled), initial=0)
    return [batch for batch, before in zip(shuffled, masks, strict=False) if before < COMPARED_MASKS]
