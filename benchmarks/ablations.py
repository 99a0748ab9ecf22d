"""What each step of quantization keeps of a checkpoint's quality, and what it costs: onnxruntime's ways and ours.

    .venv/bin/python benchmarks/ablations.py --checkpoint my-checkpoint --text my-text.parquet

All graphs are calibrated on the same texts and compared with the fp32 graph on the same masks of others. Speed is that
of one thread, in turns with fp32 and relative to it. Writes quantization.json and quantization.png; with --redraw the
picture only, from the figures. benchmarks/pages.py makes the page.
"""

import copy
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx_ir as ir
import typer
from ablation_plot import draw
from onnxruntime_quantizers import onnxruntime_variants
from rich.console import Console

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import OnnxGraph, graph_inputs
from maskedge.inference.encoding import TextEncoder
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.comparison import compare
from maskedge_export.evaluation.logprobs import Logprobs, graph_logprobs
from maskedge_export.evaluation.masked_tokens import masked_batches, verification_batches
from maskedge_export.evaluation.texts import read_texts, split_texts
from maskedge_export.graphs.external_data import save_graphs
from maskedge_export.graphs.layer_names import activation_name
from maskedge_export.graphs.matmuls import separate_gemms, weight_matmuls
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs
from maskedge_export.quantization.divergence import Divergence, ReferenceLogprobs
from maskedge_export.quantization.fisher import embedding_fisher
from maskedge_export.quantization.gptq import round_to_nearest
from maskedge_export.quantization.observers import ActivationObserver, Range, observe_activations
from maskedge_export.quantization.pipeline import (
    BATCH_STRIDE,
    Calibrated,
    blocks_graph,
    calibrate,
    seven_bit,
)
from maskedge_export.quantization.qdq import Plan, quantize, round_weights
from maskedge_export.quantization.sensitivity import (
    Sensitivity,
    measure_sensitivity,
    with_second_terms,
)
from maskedge_export.quantization.smoothquant import observed_inputs, smooth

HERE = Path(__file__).parents[1]
CHECKPOINT = HERE / "checkpoints" / "english-minilm"
SENTENCES = HERE / "examples" / "sentences.txt"
TIMED_TOKENS = 512
LENGTHS = (16, 64)
"""Tokens of the texts that speed is measured on."""

Metrics = dict[str, Any]
Write = Callable[[Path], None]
"""Writes a graph that ends in logits."""


def main(
    checkpoint: Annotated[Path, typer.Option(help="A Hugging Face checkpoint.")] = CHECKPOINT,
    text: Annotated[
        list[Path] | None, typer.Option(help="Text or Parquet: some to calibrate on, other to compare on.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Times that each graph is timed.")] = 15,
    out: Annotated[Path, typer.Option(help="Directory of both files.")] = Path("build"),
    redraw: Annotated[bool, typer.Option(help="Measure nothing: the picture from the figures there.")] = False,
) -> None:
    """Quantize in every way, compare, and write the figures."""
    stored = out / "quantization.json"
    if not redraw:
        out.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(measured(checkpoint, text or [SENTENCES], rounds), indent=1) + "\n", "utf-8")
    draw(json.loads(stored.read_text(encoding="utf-8")), out / "quantization.png")


def measured(checkpoint: Path, text: list[Path], rounds: int) -> Metrics:
    """The figures of every way and every step of a checkpoint's quantization."""
    console, source = Console(), load_checkpoint(str(checkpoint))
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(source, text, Path(scratch), rounds)
        rows = {name: bench.measure(name, write, console) for name, write in bench.variants()}
        trade = [bench.measure(f"{count} finer", write, console) for count, write in bench.trade()]
        return bench.metrics(checkpoint.name, rows, trade)


def save(model: ir.Model, path: Path) -> None:
    """Write a graph with all its weights, wherever they are kept."""
    ir.save(ir.external_data.load_to_model(model), path)


class Bench:
    """One checkpoint, its fp32 graph, and the masked tokens that everything is measured on."""

    def __init__(self, source: Checkpoint, text: list[Path], scratch: Path, rounds: int) -> None:
        self.source, self.scratch, self.rounds = source, scratch, rounds
        source.tokenizer.save_pretrained(scratch)
        encoder = TextEncoder.from_file(scratch / "tokenizer.json", source.tokenizer.mask_token, source.max_length)
        calibration, held_out = split_texts(read_texts(text))
        self.calibration = masked_batches(calibration, encoder)
        self.batches = verification_batches(held_out, encoder)
        self.plain = encoder_graph(source.encoder)
        separate_gemms(self.plain)
        self.fp32 = self.open("fp32", lambda path: ir.save(self.plain.clone(), path))
        self.reference: Logprobs = self.logprobs(self.fp32)
        self.expected = list(self.reference(self.batches))
        self.calibrated = calibrate(source.reloaded(), self.calibration, self.directory("calibrated"))
        self.divergence = Divergence.of_graph(
            self.calibrated.model, ReferenceLogprobs(self.reference, self.calibration, self.directory("answers"))
        )
        self.plan = self.calibrated.plan()
        self.sensitivities = measure_sensitivity(self.plan, self.divergence)
        self.chosen = with_second_terms(self.plan, self.sensitivities)

    def logprobs(self, graph: OnnxGraph) -> Logprobs:
        """A graph's predictions."""
        return graph_logprobs(graph, self.source.vocab_size)

    def directory(self, name: str) -> Path:
        """A directory of its own for a graph, or for what calibration leaves."""
        directory = self.scratch / name.replace(" ", "_").replace("/", "_")
        directory.mkdir(exist_ok=True)
        return directory

    def open(self, name: str, write: Write) -> OnnxGraph:
        """A graph, written, given its scoring outputs, and opened as the runtime does."""
        directory = self.directory(name)
        write(directory / "logits.onnx")
        model = ir.load(directory / "logits.onnx")
        ir.external_data.load_to_model(model)
        add_scoring_outputs(model, self.source.vocab_size)
        save_graphs({directory / "graph.onnx": model})
        for file in directory.glob("logits*"):
            file.unlink()
        return OnnxGraph(directory / "graph.onnx")

    def measure(self, name: str, write: Write, console: Console) -> Metrics:
        """How near a graph is to fp32, its size, and its speed relative to fp32's."""
        graph = self.fp32 if name == "fp32" else self.open(name, write)
        comparison = compare(lambda batches: iter(self.expected), self.logprobs(graph), self.batches)
        size = sum(file.stat().st_size for file in self.directory(name).iterdir())
        found = {"megabytes": size / 1e6, "times_faster": self.speed(graph), **comparison.as_dict()}
        console.print(f"{name}: KL {found['mean_kl']:.4f}, {found['times_faster']:.2f} x", highlight=False)
        return found

    def speed(self, graph: OnnxGraph) -> float:
        """fp32's time over a graph's: each the least of its rounds, the geometric mean over LENGTHS."""
        ratios = []
        for length in (min(length, self.source.max_length) for length in LENGTHS):
            inputs = self._timed_inputs(length)
            times = {id(one): math.inf for one in (self.fp32, graph)}
            for _ in range(self.rounds):
                for one in (self.fp32, graph):
                    started = time.perf_counter()
                    one.run(["top_logprobs", "top_ids"], inputs)
                    times[id(one)] = min(times[id(one)], time.perf_counter() - started)
            ratios.append(times[id(self.fp32)] / times[id(graph)])
        return math.exp(sum(map(math.log, ratios)) / len(ratios))

    def _timed_inputs(self, length: int) -> dict[str, Int64Array]:
        rows = TIMED_TOKENS // length
        ids = np.random.default_rng(0).integers(0, self.source.vocab_size, (rows, length))
        return graph_inputs(ids, np.full((rows, 1), length // 2), ids[:, :1, np.newaxis], top_k=5)

    def variants(self) -> Iterator[tuple[str, Write]]:
        """Every way of quantizing, by the name it has in the report."""
        yield "fp32", lambda path: None
        yield from onnxruntime_variants(self.plain, self.calibration)
        yield from self.steps()
        chosen, calibrated = self.chosen, self.calibrated
        yield "int8", self.quantized(calibrated.model, chosen)
        yield "int8-avx2", self.quantized(calibrated.model, seven_bit(calibrated, chosen))
        yield "int8-weights", lambda path: save(blocks_graph(calibrated, 8), path)
        yield "int4-weights", lambda path: save(blocks_graph(calibrated, 4), path)

    def steps(self) -> Iterator[tuple[str, Write]]:
        """Our own graph with one improvement after another, ending where `int8` takes over."""
        plain = Calibrated(self.plain, observe_activations(self.plain, self.calibration, self.directory("plain")), None)
        full = {name: WholeRange(s.low, s.high, s.rows) for name, s in plain.observers.items()}
        rounded = round_weights(self.plain, plain.observers, rounding=round_to_nearest)
        yield "ours: ranges min to max", self.quantized(self.plain, Plan(full, rounded))
        yield "+ ranges of least error", self.quantized(self.plain, Plan(plain.observers, rounded))
        model, observers = self.calibrated.model, self.calibrated.observers
        if isinstance(self.source.encoder, Encoder):
            encoder = copy.deepcopy(self.source.encoder)
            with observed_inputs(encoder) as given:
                embedding_fisher(encoder, self.calibration[::BATCH_STRIDE])
            smooth(encoder, given, strength=0.5)
            fixed = encoder_graph(encoder)
            separate_gemms(fixed)
            seen = observe_activations(fixed, self.calibration, self.directory("fixed"))
            fixed_plan = Plan(seen, round_weights(fixed, seen, rounding=round_to_nearest))
            yield "+ SmoothQuant, strength 0.5", self.quantized(fixed, fixed_plan)
            own = Plan(observers, round_weights(model, observers, rounding=round_to_nearest))
            yield "+ each layer's own strength", self.quantized(model, own)
        table = Plan(observers, round_weights(model, observers))
        yield "+ compensated rounding", self.quantized(model, table)
        yield (
            "+ table rounded for what reads it",
            self.quantized(model, replace(self.plan, per_token=frozenset())),
        )
        yield "+ row scales", self.quantized(model, self.plan)

    def quantized(self, model: ir.Model, plan: Plan) -> Write:
        """The plan's int8 graph."""

        def write(path: Path) -> None:
            graph = model.clone()
            quantize(graph, plan)
            save(graph, path)

        return write

    def trade(self) -> Iterator[tuple[int, Write]]:
        """The graph with two terms for ever more activations, those that gain most for their work first."""
        order = list(self.sensitivities)
        for count in sorted({0, *(round(len(order) * share) for share in (0.1, 0.2, 0.35, 0.6, 1.0))}):
            yield (
                count,
                self.quantized(self.calibrated.model, replace(self.plan, two_term=frozenset(order[:count]))),
            )

    def metrics(self, checkpoint: str, rows: dict[str, Metrics], trade: list[Metrics]) -> Metrics:
        """All that was measured, as the JSON has it."""
        counts = [count for count, _ in self.trade()]
        return {
            "checkpoint": checkpoint,
            "cells": sum(len(batch.targets) for batch in self.batches),
            "versions": {name: version(name) for name in ("maskedge", "onnxruntime", "onnx")},
            "timing": {"tokens": TIMED_TOKENS, "lengths": LENGTHS, "rounds": self.rounds, "threads": 1},
            "graphs": rows,
            "activations": [self._activation(name, found) for name, found in self.sensitivities.items()],
            "trade": [{"finer": count, **row} for count, row in zip(counts, trade, strict=True)],
        }

    def _activation(self, name: str, found: Sensitivity) -> Metrics:
        weights = [matmul.name for matmul in weight_matmuls(self.calibrated.model) if matmul.input == name]
        return {
            "name": activation_name(weights),
            "weights": weights,
            "gain": found.gain,
            "work": found.work,
            "two_terms": name in self.chosen.two_term,
            "row_scales": name in self.chosen.per_token - self.chosen.two_term,
        }


class WholeRange(ActivationObserver):
    """An activation of which nothing is clipped."""

    @property
    def mse_range(self) -> Range:
        """All that was seen."""
        return Range(self.low, self.high)


if __name__ == "__main__":
    typer.run(main)
