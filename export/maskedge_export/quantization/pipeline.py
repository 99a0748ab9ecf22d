"""The precisions that a bundle may hold, and how each graph is made from the fp32 one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import nn

from maskedge.arrays import Float32Array
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.gate import Gate, Limits
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.editing import constant_array
from maskedge_export.graphs.matmuls import matmul_inputs, separate_gemms, token_table, weight_matmuls
from maskedge_export.graphs.onnx_export import drop_weights, encoder_graph
from maskedge_export.memory import release_memory
from maskedge_export.quantization.fisher import embedding_fisher
from maskedge_export.quantization.gptq import BlockWeight, blockwise
from maskedge_export.quantization.observers import ActivationObserver, run_observers, wants_per_token_scales
from maskedge_export.quantization.qdq import (
    SEVEN_BIT_QMAX,
    Plan,
    quantize,
    round_weights,
    stored_weights,
    summed_hessian,
)
from maskedge_export.quantization.sensitivity import (
    Divergence,
    ReferenceLogprobs,
    measure_sensitivity,
    refined_to_gate,
    with_second_terms,
)
from maskedge_export.quantization.smoothquant import smooth
from maskedge_export.quantization.weight_only import BLOCK, store_in_blocks

__all__ = ["Calibrated", "blocks_graph", "calibrate", "observe_activations", "quantized_graphs", "seven_bit"]


SHARE = 4
"""One batch in so many is enough to see which channels are outliers and which directions matter; ranges need more."""

HESSIAN_BYTES = 64 * 2**20
"""Bytes: how much memory the Hessians of activations that are observed together may take."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An fp32 graph that is ready to be quantized, and what calibration text showed of it."""

    model: ir.Model
    observers: dict[str, ActivationObserver]
    embedding_fisher: Float32Array | None
    """What errors of the embedding table do; None where it is not known."""

    def plan(self) -> Plan:
        """Compensated rounding, and row scales where they help; one term for every activation."""
        weights = round_weights(self.model, self.observers, self.embedding_fisher)
        per_token = frozenset(name for name, seen in self.observers.items() if wants_per_token_scales(seen))
        return Plan(self.observers, weights, per_token=per_token)


def calibrate(
    source: Checkpoint, batches: Sequence[MaskedBatch], directory: Path, progress: Progress = lambda step: None
) -> Calibrated:
    """The graph of a checkpoint's smoothed encoder, with what was observed of its activations over the batches.

    Weights and Hessians are kept in the directory, the checkpoint's own weights are changed and their memory is given
    back: all of them would be several times its size. An encoder that is not maskedge's own is left as it is: which
    layers could take its factors is not known.
    """
    encoder: nn.Module = source.encoder
    fisher = None
    if isinstance(encoder, Encoder):
        progress("Smoothing outlier channels")
        fisher = embedding_fisher(encoder, batches[::SHARE])
        release_memory()
        smooth(encoder, batches[::SHARE])
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
    """The wanted quantized graphs of a checkpoint by precision, ending in logits.

    `reference` has the fp32 graph's predictions of calibration text; a graph of 8-bit activations is made finer, and
    slower, until its own leave room below the gate's limits for mean KL and best tokens. The directory is for what
    would fill the memory, and the checkpoint's weights are given back.
    """
    calibrated = calibrate(source, batches, directory, progress)
    graphs: dict[str, ir.Model] = {}
    if plans := [precision for precision in wanted if precision in ("int8", "int8-avx2")]:
        graphs |= _integer_graphs(calibrated, plans, Divergence(calibrated.model, reference), gate or {}, progress)
    for precision in wanted:
        if precision not in graphs:
            progress(f"Rounding the weights of {precision}")
            graphs[precision] = blocks_graph(calibrated, bits=4 if precision == "int4-weights" else 8)
    return {precision: ir.external_data.load_to_model(graphs[precision]) for precision in wanted}


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
    sensitivities = measure_sensitivity(calibrated.model, plan, divergence.typical)
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
    """The plan with weights of 7 bits; the table keeps its 8, which the int8 graph shares."""
    weights = round_weights(calibrated.model, calibrated.observers, calibrated.embedding_fisher, qmax=SEVEN_BIT_QMAX)
    return replace(plan, weights=weights, seven_bit_head=True)


def blocks_graph(calibrated: Calibrated, bits: int) -> ir.Model:
    """The graph with its weights in blocks; the embedding table, and a head tied to it, always of 8 bits."""
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


def observe_activations(
    model: ir.Model, batches: Sequence[MaskedBatch], directory: Path
) -> dict[str, ActivationObserver]:
    """Observers of the inputs of the graph's MatMuls with weights; their Hessians are kept in the directory.

    As many activations at once as HESSIAN_BYTES has room for, so that a large model is run through more than once.
    """
    observers: dict[str, ActivationObserver] = {}
    for names in _passes(model):
        probe = model.clone()
        probe.graph.outputs[:] = [value for name, value in matmul_inputs(probe).items() if name in names]
        RemoveUnusedNodesPass()(probe)
        ir.save(probe, directory / "probe.onnx")
        for name, observer in run_observers(directory / "probe.onnx", names, batches).items():
            observer.store_hessian(directory / f"hessian{len(observers)}.npy")
            observers[name] = observer
        release_memory()
    return observers


def _passes(model: ir.Model) -> list[list[str]]:
    """The products' inputs in the graph's order, divided where the Hessians of so many would be too large."""
    widths = {matmul.input: matmul.shape[0] for matmul in weight_matmuls(model)}
    passes: list[list[str]] = [[]]
    room = HESSIAN_BYTES
    for name, width in widths.items():
        size = 4 * width**2
        if size > room and passes[-1]:
            passes.append([])
            room = HESSIAN_BYTES
        passes[-1].append(name)
        room -= size
    return passes


def stored(model: ir.Model, file: Path) -> ir.Model:
    """The graph with its weights in a file beside it, from which they are read when they are needed."""
    ir.save(model, file, external_data=f"{file.name}.data")
    drop_weights(model.graph.initializers.values())
    return ir.load(file)
