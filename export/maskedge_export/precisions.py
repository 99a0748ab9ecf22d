"""The precisions that a bundle may hold, and how each graph is made from the fp32 one."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir
from torch import nn

from maskedge_export.calibration import Batch
from maskedge_export.checkpoint import Checkpoint
from maskedge_export.encoder import Encoder
from maskedge_export.errors import ExportError
from maskedge_export.graph import encoder_graph
from maskedge_export.importance import embedding_moment
from maskedge_export.products import constant_array, matmul_inputs, separate_gemms, token_table, weight_products
from maskedge_export.quantization import SEVEN_BIT_LEVELS, Plan, quantize, round_weights
from maskedge_export.ranges import ActivationSample, observe_activations, uneven
from maskedge_export.rounding import BlockWeight, FloatArray, blockwise
from maskedge_export.sensitivity import Divergence, measure_sensitivity, refined, until_close
from maskedge_export.smoothing import smoothed
from maskedge_export.verification import Logprobs
from maskedge_export.weight_only import BLOCK, store_in_blocks

__all__ = [
    "BOTH",
    "PRECISIONS",
    "Calibrated",
    "blocks_graph",
    "calibrate",
    "observe",
    "parse_precisions",
    "quantized_graphs",
    "seven_bit",
]

PRECISIONS = {
    "int8": "8-bit weights and activations: the fastest",
    "fp32": "as the checkpoint",
    "int8-avx2": "int8 with weights of 7 bits, for x86 CPUs without VNNI, where sums of 8-bit products saturate",
    "int8-weights": "weights of 8 bits in blocks of 32, activations rounded as they come: nearest to fp32",
    "int4-weights": "weights of 4 bits in blocks of 32: the smallest",
}
"""Each precision, and what it is for."""

BOTH = {"both": ("int8", "fp32")}
"""Names for several."""

SHARE = 4
"""One batch in so many is enough to see which channels are outliers and which directions matter; ranges need more."""

ROOM = 0.8
"""Share of the gate's limit that is aimed at on calibration text, since other text may come out worse."""

Progress = Callable[[str], None]


def parse_precisions(text: str) -> tuple[str, ...]:
    """The precisions named in a comma-separated list, each once; the first is the bundle's default.

    Raises ExportError for a name that is none.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PRECISIONS and name not in BOTH:
            raise ExportError(
                f"precision {name!r} is unknown; choose of {', '.join([*PRECISIONS, *BOTH])}, several with commas"
            )
    return tuple(dict.fromkeys(precision for name in names for precision in BOTH.get(name, (name,))))


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An fp32 graph that is ready to be quantized, and what calibration text showed of it."""

    model: ir.Model
    samples: dict[str, ActivationSample]
    table_moment: FloatArray | None
    """What errors of the embedding table do; None where it is not known."""

    @property
    def plan(self) -> Plan:
        """Compensated rounding, and row scales where they help; one term for every activation."""
        weights = round_weights(self.model, self.samples, self.table_moment)
        return Plan(self.samples, weights, by_row=frozenset(n for n, s in self.samples.items() if uneven(s)))


def calibrate(source: Checkpoint, batches: Sequence[Batch], progress: Progress = lambda step: None) -> Calibrated:
    """The graph of a checkpoint's smoothed encoder, with samples of its activations over the batches.

    An encoder that is not maskedge's own is left as it is: which layers could take its factors is not known.
    """
    encoder: nn.Module = source.encoder
    moment = None
    if isinstance(encoder, Encoder):
        progress("Smoothing outlier channels")
        moment = embedding_moment(encoder, batches[::SHARE])
        encoder = smoothed(encoder, batches[::SHARE])
    model = encoder_graph(encoder)
    separate_gemms(model)
    progress("Observing the activations")
    return Calibrated(model, observe(model, batches), moment)


def quantized_graphs(
    source: Checkpoint,
    wanted: Sequence[str],
    batches: Sequence[Batch],
    reference: Logprobs,
    max_kl: Mapping[str, float] | None = None,
    progress: Progress = lambda step: None,
) -> dict[str, ir.Model]:
    """The wanted quantized graphs of a checkpoint by precision, ending in logits.

    `reference` are the fp32 graph's predictions; a graph of 8-bit activations is made finer, and slower, until its
    mean divergence from them on the calibration batches leaves room below its precision's `max_kl`.
    """
    wanted = [precision for precision in wanted if precision != "fp32"]
    if not wanted:
        return {}
    calibrated = calibrate(source, batches, progress)
    graphs: dict[str, ir.Model] = {}
    if plans := [precision for precision in wanted if precision in ("int8", "int8-avx2")]:
        graphs |= _integer_graphs(
            calibrated, plans, Divergence(calibrated.model, reference, batches), max_kl or {}, progress
        )
    for precision in wanted:
        if precision not in graphs:
            progress(f"Rounding the weights of {precision}")
            graphs[precision] = blocks_graph(calibrated, bits=4 if precision == "int4-weights" else 8)
    return {precision: graphs[precision] for precision in wanted}


def _integer_graphs(
    calibrated: Calibrated,
    wanted: Sequence[str],
    divergence: Divergence,
    max_kl: Mapping[str, float],
    progress: Progress,
) -> dict[str, ir.Model]:
    progress("Measuring which activations need finer steps")
    sensitivities = measure_sensitivity(calibrated.model, calibrated.plan, divergence.typical)
    plans = {"int8": refined(calibrated.plan, sensitivities)}
    plans["int8-avx2"] = seven_bit(calibrated, plans["int8"])
    graphs = {}
    for precision in wanted:
        progress(f"Quantizing to {precision}")
        plan = until_close(plans[precision], list(sensitivities), divergence, ROOM * max_kl.get(precision, math.inf))
        graphs[precision] = calibrated.model.clone()
        quantize(graphs[precision], plan)
    return graphs


def seven_bit(calibrated: Calibrated, plan: Plan) -> Plan:
    """The plan with weights of 7 bits; the table keeps its 8, which the int8 graph shares."""
    weights = round_weights(calibrated.model, calibrated.samples, calibrated.table_moment, levels=SEVEN_BIT_LEVELS)
    return replace(plan, weights=weights, seven_bit_head=True)


def blocks_graph(calibrated: Calibrated, bits: int) -> ir.Model:
    """The graph with its weights in blocks; the embedding table, and a head tied to it, always of 8 bits."""
    weights: dict[str, BlockWeight] = {}
    gather = token_table(calibrated.model)
    if gather is not None and gather.inputs[0] is not None:
        table = gather.inputs[0]
        weights[str(table.name)] = blockwise(constant_array(table).T, calibrated.table_moment, 8, BLOCK)
    for product in weight_products(calibrated.model):
        if product.name not in weights:
            moment = calibrated.samples[product.input].moment
            weights[product.name] = blockwise(product.weight, moment, bits, BLOCK)
    model = calibrated.model.clone()
    store_in_blocks(model, weights)
    return model


def observe(model: ir.Model, batches: Sequence[Batch]) -> dict[str, ActivationSample]:
    """Samples of the inputs of the graph's products."""
    probe = model.clone()
    outputs = probe.graph.outputs
    outputs.extend(value for value in matmul_inputs(probe).values() if value not in outputs)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "probe.onnx"
        ir.save(probe, path, external_data="probe.onnx.data")
        return observe_activations(path, matmul_inputs(model), batches)
