"""A checkpoint -> its quantized graphs: smooth, observe, round, refine; one graph for each precision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path

import onnx_ir as ir
from torch import nn

from maskedge.arrays import Float32Array
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.gate import Gate, Limits
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.editing import constant_array
from maskedge_export.graphs.half_precision import halve_exact_constants
from maskedge_export.graphs.matmuls import separate_gemms, token_table
from maskedge_export.graphs.onnx_export import drop_weights, encoder_graph
from maskedge_export.in_order import in_order
from maskedge_export.memory import release_memory, settled_objects
from maskedge_export.progress import Progress
from maskedge_export.quantization.divergence import Divergence, ReferenceLogprobs
from maskedge_export.quantization.fisher import embedding_fisher
from maskedge_export.quantization.gptq import BlockWeight, blockwise
from maskedge_export.quantization.observers import ActivationObserver, observe_activations, wants_per_token_scales
from maskedge_export.quantization.qdq import (
    SEVEN_BIT_QMAX,
    Plan,
    quantize,
    round_weights,
    stored_weights,
    summed_hessian,
)
from maskedge_export.quantization.sensitivity import measure_sensitivity, refined_to_gate, with_second_terms
from maskedge_export.quantization.smoothquant import observed_inputs, smooth
from maskedge_export.quantization.weight_only import BLOCK, store_in_blocks

__all__ = ["Calibrated", "blocks_graph", "calibrate", "quantized_graphs", "seven_bit"]


BATCH_STRIDE = 4
"""One batch in so many shows which channels are outliers and what errors of the embedding do; ranges need them all."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An fp32 graph that is ready to be quantized, and what calibration text showed of it."""

    model: ir.Model
    observers: dict[str, ActivationObserver]
    """What was seen of each activation that is multiplied with a weight, by its name."""
    embedding_fisher: Float32Array | None
    """What errors of the embedding table do, [hidden, hidden]; None where it is not known."""

    def plan(self) -> Plan:
        """Weights rounded by GPTQ, scales for each token where they help, and one term for every activation."""
        weights = round_weights(self.model, self.observers, self.embedding_fisher)
        wants = in_order(wants_per_token_scales, self.observers.values())
        return Plan(self.observers, weights, per_token=frozenset(compress(self.observers, wants)))


def calibrate(
    source: Checkpoint, batches: Sequence[MaskedBatch], directory: Path, progress: Progress = lambda step: None
) -> Calibrated:
    """The fp32 graph of a checkpoint's smoothed encoder, with what was observed of its activations.

    A wrapped encoder is not smoothed, since it is not known which of its layers could take the factors.

    Args:
        source: The checkpoint. Its weights are changed, and then released.
        batches: Calibration text.
        directory: Where the graph's weights and the Hessians are kept: together they may take several times the
            checkpoint's size of memory.
        progress: Called with each step's name.
    """
    encoder: nn.Module = source.encoder
    fisher = None
    if isinstance(encoder, Encoder):
        progress("Smoothing outlier channels")
        with observed_inputs(encoder) as seen:
            fisher = embedding_fisher(encoder, batches[::BATCH_STRIDE])
        release_memory()
        smooth(encoder, seen)
    model = encoder_graph(encoder)
    separate_gemms(model)
    model = stored(model, directory / "calibrated.onnx")
    source.release()
    progress("Observing the activations")
    return Calibrated(model, observe_activations(model, batches, directory), fisher)


def quantized_graphs(
    source: Checkpoint,
    wanted: Sequence[str],
    batches: Sequence[MaskedBatch],
    reference: ReferenceLogprobs,
    directory: Path,
    gate: Gate | None = None,
    progress: Progress = lambda step: None,
) -> dict[str, ir.Model]:
    """The quantized graphs of a checkpoint, by precision, each ending in logits.

    Args:
        source: The checkpoint. Its weights are changed, and then released.
        wanted: Precisions, of those in `PRECISIONS` all but fp32.
        batches: Calibration text.
        reference: The fp32 graph's predictions of some of it.
        directory: For what would fill the memory; needed until the graphs are returned.
        gate: Limits by precision. A graph with 8-bit activations is made finer, and slower, until its mean KL and its
            best tokens leave some room below them.
        progress: Called with each step's name.
    """
    calibrated = calibrate(source, batches, directory, progress)
    graphs: dict[str, ir.Model] = {}
    if plans := [precision for precision in wanted if precision in ("int8", "int8-avx2")]:
        graphs |= _integer_graphs(
            calibrated, plans, Divergence.of_graph(calibrated.model, reference), gate or {}, progress
        )
    for precision in wanted:
        if precision not in graphs:
            progress(f"Rounding the weights of {precision}")
            graphs[precision] = blocks_graph(calibrated, bits=4 if precision == "int4-weights" else 8)
    for graph in graphs.values():
        halve_exact_constants(graph)
    return {precision: ir.external_data.load_to_model(graphs[precision]) for precision in wanted}


@settled_objects()
def _integer_graphs(
    calibrated: Calibrated,
    wanted: Sequence[str],
    divergence: Divergence,
    gate: Gate,
    progress: Progress,
) -> dict[str, ir.Model]:
    progress("Rounding the weights")
    plan = calibrated.plan()
    progress("Measuring which activations need finer steps")
    sensitivities = measure_sensitivity(plan, divergence)
    # The cheapest second terms are worth their time anyway; then each precision gets what its gate still asks for.
    plan = with_second_terms(plan, sensitivities)
    graphs = {}
    for precision in wanted:
        progress(f"Quantizing to {precision}")
        start = plan if precision == "int8" else seven_bit(calibrated, plan)
        is_close = partial(divergence.is_within, gate.get(precision, Limits()))
        graphs[precision] = calibrated.model.clone()
        quantize(graphs[precision], refined_to_gate(start, list(sensitivities), is_close))
    return graphs


def seven_bit(calibrated: Calibrated, plan: Plan) -> Plan:
    """The plan with weights of 7 bits. The embedding table keeps its 8 bits, so that the int8 graph can share it."""
    weights = round_weights(calibrated.model, calibrated.observers, calibrated.embedding_fisher, qmax=SEVEN_BIT_QMAX)
    return replace(plan, weights=weights, seven_bit_head=True)


def blocks_graph(calibrated: Calibrated, bits: int) -> ir.Model:
    """The graph with its weights in blocks of so many bits, 8 or 4; the embedding table always has 8, and so has a head
    tied to it."""
    weights: dict[str, BlockWeight] = {}
    table = token_table(calibrated.model)
    if table is not None:
        weights[str(table.name)] = blockwise(constant_array(table).T, calibrated.embedding_fisher, 8, BLOCK)
    for name, matmuls in stored_weights(calibrated.model).items():
        if name not in weights:
            hessian = summed_hessian(matmuls, calibrated.observers)
            weights[name] = blockwise(matmuls[0].weight, hessian, bits, BLOCK)
    model = calibrated.model.clone()
    store_in_blocks(model, weights)
    return model


def stored(model: ir.Model, file: Path) -> ir.Model:
    """The graph, its weights dropped from memory and read from a file when they are needed."""
    ir.save(model, file, external_data=f"{file.name}.data")
    drop_weights(model.graph.initializers.values())
    return ir.load(file)
