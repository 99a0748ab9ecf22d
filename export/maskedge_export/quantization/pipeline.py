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
from maskedge_export.evaluation.masked_tokens import Batch
from maskedge_export.graphs.editing import constant_array
from maskedge_export.graphs.matmuls import matmul_inputs, separate_gemms, token_table, weight_matmuls
from maskedge_export.graphs.onnx_export import drop_weights, encoder_graph
from maskedge_export.memory import release_memory
from maskedge_export.quantization.fisher import embedding_moment
from maskedge_export.quantization.gptq import BlockWeight, blockwise
from maskedge_export.quantization.observers import ActivationSample, observe_activations, uneven
from maskedge_export.quantization.qdq import (
    SEVEN_BIT_LEVELS,
    Plan,
    quantize,
    round_weights,
    stored_weights,
    summed_moment,
)
from maskedge_export.quantization.sensitivity import Answers, Divergence, measure_sensitivity, refined, until_close
from maskedge_export.quantization.smoothquant import smooth
from maskedge_export.quantization.weight_only import BLOCK, store_in_blocks

__all__ = ["Calibrated", "blocks_graph", "calibrate", "observe", "quantized_graphs", "seven_bit"]


SHARE = 4
"""One batch in so many is enough to see which channels are outliers and which directions matter; ranges need more."""

MOMENTS_AT_ONCE = 64 * 2**20
"""Bytes: how much memory the moments of activations that are observed together may take."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An fp32 graph that is ready to be quantized, and what calibration text showed of it."""

    model: ir.Model
    samples: dict[str, ActivationSample]
    table_moment: Float32Array | None
    """What errors of the embedding table do; None where it is not known."""

    def plan(self) -> Plan:
        """Compensated rounding, and row scales where they help; one term for every activation."""
        weights = round_weights(self.model, self.samples, self.table_moment)
        return Plan(self.samples, weights, by_row=frozenset(n for n, s in self.samples.items() if uneven(s)))


def calibrate(
    source: Checkpoint, batches: Sequence[Batch], directory: Path, progress: Progress = lambda step: None
) -> Calibrated:
    """The graph of a checkpoint's smoothed encoder, with samples of its activations over the batches.

    Weights and moments are kept in the directory, the checkpoint's own weights are changed and their memory is given
    back: all of them would be several times its size. An encoder that is not maskedge's own is left as it is: which
    layers could take its factors is not known.
    """
    encoder: nn.Module = source.encoder
    moment = None
    if isinstance(encoder, Encoder):
        progress("Smoothing outlier channels")
        moment = embedding_moment(encoder, batches[::SHARE])
        release_memory()
        smooth(encoder, batches[::SHARE])
    model = encoder_graph(encoder)
    separate_gemms(model)
    model = stored(model, directory / "calibrated.onnx")
    source.release()
    progress("Observing the activations")
    return Calibrated(model, observe(model, batches, directory), moment)


def quantized_graphs(
    source: Checkpoint,
    wanted: Sequence[str],
    batches: Sequence[Batch],
    answers: Answers,
    directory: Path,
    gate: Gate | None = None,
    progress: Progress = lambda step: None,
) -> dict[str, ir.Model]:
    """The wanted quantized graphs of a checkpoint by precision, ending in logits.

    `answers` are the fp32 graph's predictions of calibration text; a graph of 8-bit activations is made finer, and
    slower, until its own leave room below the gate's limits for mean KL and best tokens. The directory is for what
    would fill the memory, and the checkpoint's weights are given back.
    """
    calibrated = calibrate(source, batches, directory, progress)
    graphs: dict[str, ir.Model] = {}
    if plans := [precision for precision in wanted if precision in ("int8", "int8-avx2")]:
        graphs |= _integer_graphs(calibrated, plans, Divergence(calibrated.model, answers), gate or {}, progress)
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
    plan = refined(plan, sensitivities)
    graphs = {}
    for precision in wanted:
        progress(f"Quantizing to {precision}")
        start = plan if precision == "int8" else seven_bit(calibrated, plan)
        is_close = partial(divergence.is_within, gate.get(precision, Limits()))
        graphs[precision] = calibrated.model.clone()
        quantize(graphs[precision], until_close(start, list(sensitivities), is_close))
    return graphs


def seven_bit(calibrated: Calibrated, plan: Plan) -> Plan:
    """The plan with weights of 7 bits; the table keeps its 8, which the int8 graph shares."""
    weights = round_weights(calibrated.model, calibrated.samples, calibrated.table_moment, levels=SEVEN_BIT_LEVELS)
    return replace(plan, weights=weights, seven_bit_head=True)


def blocks_graph(calibrated: Calibrated, bits: int) -> ir.Model:
    """The graph with its weights in blocks; the embedding table, and a head tied to it, always of 8 bits."""
    weights: dict[str, BlockWeight] = {}
    table = token_table(calibrated.model)
    if table is not None:
        weights[str(table.name)] = blockwise(constant_array(table).T, calibrated.table_moment, 8, BLOCK)
    for name, matmuls in stored_weights(calibrated.model).items():
        if name not in weights:
            moment = summed_moment(matmuls, calibrated.samples)
            weights[name] = blockwise(matmuls[0].weight, moment, bits, BLOCK)
    model = calibrated.model.clone()
    store_in_blocks(model, weights)
    return model


def observe(model: ir.Model, batches: Sequence[Batch], directory: Path) -> dict[str, ActivationSample]:
    """Samples of the inputs of the graph's products; their moments are kept in the directory.

    As many activations at once as MOMENTS_AT_ONCE has room for, so that a large model is run through more than once.
    """
    samples: dict[str, ActivationSample] = {}
    for names in _passes(model):
        probe = model.clone()
        probe.graph.outputs[:] = [value for name, value in matmul_inputs(probe).items() if name in names]
        RemoveUnusedNodesPass()(probe)
        ir.save(probe, directory / "probe.onnx")
        for name, sample in observe_activations(directory / "probe.onnx", names, batches).items():
            sample.put_moment_into(directory / f"moment{len(samples)}.npy")
            samples[name] = sample
        release_memory()
    return samples


def _passes(model: ir.Model) -> list[list[str]]:
    """The products' inputs in the graph's order, divided where the moments of so many would be too large."""
    widths = {matmul.input: matmul.shape[0] for matmul in weight_matmuls(model)}
    passes: list[list[str]] = [[]]
    room = MOMENTS_AT_ONCE
    for name, width in widths.items():
        size = 4 * width**2
        if size > room and passes[-1]:
            passes.append([])
            room = MOMENTS_AT_ONCE
        passes[-1].append(name)
        room -= size
    return passes


def stored(model: ir.Model, file: Path) -> ir.Model:
    """The graph with its weights in a file beside it, from which they are read when they are needed."""
    ir.save(model, file, external_data=f"{file.name}.data")
    drop_weights(model.graph.initializers.values())
    return ir.load(file)
