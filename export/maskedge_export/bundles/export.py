"""Checkpoint -> verified bundle on disk: every step of an export, in order."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import Graph, OnnxGraph
from maskedge.bundle.format import MANIFEST_NAME, GraphEntry, Manifest
from maskedge.inference.encoding import TextEncoder
from maskedge_export.bundles.attention import export_attention
from maskedge_export.bundles.manifest import golden_vectors, write_manifest
from maskedge_export.bundles.model_card import VerifiedOn
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.wrapped import WrappedEncoder, check_sizes
from maskedge_export.errors import CalibrationTextError, ExportError, GateError
from maskedge_export.evaluation.attention import attention_reference
from maskedge_export.evaluation.comparison import Comparison, compare
from maskedge_export.evaluation.evaluation_set import EvaluationSet, evaluation_set, random_evaluation_set
from maskedge_export.evaluation.gate import GATE, Gate
from maskedge_export.evaluation.logprobs import (
    Logprobs,
    cached_logprobs,
    graph_logprobs,
    model_logprobs,
    standard_logprobs,
    standard_reference,
)
from maskedge_export.evaluation.masked_tokens import MaskedBatch, calibration_record, masked_batches
from maskedge_export.evaluation.metric_labels import without_perplexity
from maskedge_export.evaluation.minimal_pairs import MinimalPair, sentences_of
from maskedge_export.evaluation.texts import read_texts, split_texts, too_few
from maskedge_export.graphs.external_data import save_graphs
from maskedge_export.graphs.onnx_export import drop_weights, encoder_graph
from maskedge_export.graphs.optimum import (
    FP32_FILE,
    STANDARD_OUTPUTS,
    save_standard_graphs,
    standard_files,
    standard_inputs,
    token_types,
)
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs
from maskedge_export.memory import release_memory
from maskedge_export.progress import Progress
from maskedge_export.quantization.divergence import ReferenceLogprobs
from maskedge_export.quantization.pipeline import quantized_graphs
from maskedge_export.quantization.precisions import DEFAULT_PRECISION, parse_precisions
from maskedge_export.staging import staging
from maskedge_export.tokenization.loading import check_tokenizer
from maskedge_export.tokenization.saving import save_tokenizer

__all__ = ["ExportOptions", "compare_standard_graphs", "export_bundle"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a checkpoint becomes a bundle."""

    precision: str = DEFAULT_PRECISION
    """One of PRECISIONS, or several with commas; the first is the bundle's default."""
    calibration: tuple[Path, ...] = ()
    """Text, JSONL and Parquet files, or globs of them: quantized graphs are calibrated on some of their texts, and
    verified on others."""
    limits: Gate = field(default_factory=lambda: GATE)
    """How far each precision's graph may be from what it is compared with."""
    gate: bool = True
    """False writes a bundle that failed, and says so in its manifest and card."""
    name: str | None = None
    """The model's name; the checkpoint's by default."""
    revision: str | None = None
    """Of a Hub checkpoint."""
    overwrite: bool = False
    """Replace the bundle at the place where this one goes."""
    few_texts: bool = False
    """Accept too few texts to divide: int8 is calibrated on all their tokens and verified on the same ones, and the
    proof says so. For a model that knows no more text than this."""
    standard: bool = False
    """Add the graphs that Optimum and transformers.js load."""


@dataclass(frozen=True, slots=True)
class _Text:
    """The masked tokens of an export."""

    calibration: list[MaskedBatch]
    """Empty where no text was given."""
    record: Mapping[str, Any]
    """What calibration ran on, for the manifest."""
    evaluation: EvaluationSet
    """What the graphs are compared on."""
    verified_on: VerifiedOn
    """What kind of text that is."""


def export_bundle(
    checkpoint: str, out: Path, options: ExportOptions, progress: Progress = lambda step: None
) -> Manifest:
    """Export a checkpoint, prove it, and publish the bundle in one step.

    Args:
        checkpoint: A directory or a Hub id.
        out: The bundle's directory, which appears when all is proved; it must not exist, unless it is a bundle and
            `options.overwrite` is set.
        options: Precisions, text, limits and names.
        progress: Called with each step's name.

    Returns the bundle's manifest.

    Raises ExportError, or one of its kinds, with nothing written: for options or text that cannot be used, a checkpoint
    that cannot be loaded, a place that cannot be written, or (GateError) an export outside its limits.
    """
    _check_options(out, options)
    progress("Loading the checkpoint")
    source = load_checkpoint(checkpoint, revision=options.revision)
    for note in source.notes:
        progress(note)
    with staging(out, options.overwrite) as directory:
        save_tokenizer(source.tokenizer, directory)
        source.model.config.save_pretrained(directory)  # type: ignore[operator, union-attr]
        encoder = TextEncoder.from_file(directory / "tokenizer.json", source.tokenizer.mask_token, source.max_length)
        texts = read_texts(options.calibration) if options.calibration else []
        check_tokenizer(source.path, encoder, texts, "the bundle's tokenizer.json")
        text = _masked_text(encoder, options, texts, source.vocab_size)
        graphs, attention = _export_graphs(source, text, directory, options, progress)
        standard = _prove_standard(source, text, directory, options, progress)
        progress("Writing manifest and model card")
        return write_manifest(options.name or source.name, source, directory, graphs, standard, attention, text.record)


def _check_options(out: Path, options: ExportOptions) -> None:
    quantized = [precision for precision in parse_precisions(options.precision) if precision != "fp32"]
    if quantized and not options.calibration:
        raise CalibrationTextError(
            f"{quantized[0]} needs text to calibrate on: give --calibration FILE (text, JSONL or Parquet), or export "
            "--precision fp32"
        )
    if out.exists() and not options.overwrite:
        raise ExportError(f"{out} exists; choose another --out, or replace it with --overwrite")
    if out.exists() and not (out / MANIFEST_NAME).is_file():
        raise ExportError(f"{out} exists and is no bundle, so it is not overwritten; choose another --out")
    if "int8" in quantized and cpu_features().int8_saturates:
        raise ExportError(
            "int8 cannot be measured on this CPU, which has no VNNI instructions: sums of 8-bit products saturate; "
            "export --precision int8-avx2, whose sums do not, or export on another machine"
        )


def _masked_text(encoder: TextEncoder, options: ExportOptions, texts: list[str], vocab_size: int) -> _Text:
    if not options.calibration:
        return _Text([], {}, random_evaluation_set(encoder, vocab_size), "random tokens")
    if options.few_texts and too_few(texts):
        known = evaluation_set(texts, encoder, all_the_model_knows=True)
        return _Text(known.batches, calibration_record(texts, known.batches), known, "calibration text")
    calibration, held_out = split_texts(texts)
    batches = masked_batches(calibration, encoder)
    return _Text(batches, calibration_record(calibration, batches), evaluation_set(held_out, encoder), "held-out text")


def _export_graphs(
    source: Checkpoint, text: _Text, directory: Path, options: ExportOptions, progress: Progress
) -> tuple[dict[str, GraphEntry], dict[str, GraphEntry]]:
    """Each precision's scoring graph, with golden vectors, and its attention graph, if it has one: written below
    `directory` and compared. Raises GateError."""
    (directory / "onnx").mkdir()
    wanted = parse_precisions(options.precision)
    types = token_types(source) if options.standard else None
    native = isinstance(source.encoder, Encoder)
    reference = attention_reference(source.model, text.evaluation.length_sweep) if native else None
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        entries = {"fp32": _export_fp32(source, text, directory, Path(scratch), options, progress)}
        if options.standard:  # before the quantization, since an architecture that has none is refused
            save_standard_graphs(types, directory, {"fp32": graph_file("fp32")})
        if wanted != ("fp32",):
            entries |= _export_quantized(source, text, directory, Path(scratch), options, progress)
    if options.standard:
        save_standard_graphs(types, directory, {name: graph_file(name) for name in entries if name != "fp32"})
    attention = export_attention(directory, entries, reference, gate=options.gate) if reference else {}
    if "fp32" not in wanted:
        for file in (directory / "onnx").glob("fp32.*"):
            file.unlink()
    return {name: entries[name] for name in wanted}, {name: attention[name] for name in wanted if name in attention}


def _export_fp32(
    source: Checkpoint, text: _Text, directory: Path, scratch: Path, options: ExportOptions, progress: Progress
) -> GraphEntry:
    """The fp32 graph, compared with PyTorch; the checkpoint's memory is given back for onnxruntime's copy."""
    batches, pairs = text.evaluation.for_fp32
    progress("Asking PyTorch")
    torch_logprobs = cached_logprobs(
        model_logprobs(source.model, source.vocab_size), [*batches, *sentences_of(pairs)], scratch / "PyTorch"
    )
    progress("Exporting the fp32 graph")
    _write(encoder_graph(source.encoder), directory, "fp32", source.vocab_size)
    progress("Comparing fp32 with PyTorch")
    if isinstance(source.encoder, Encoder):
        source.release()
    graph = OnnxGraph(directory / graph_file("fp32"))
    if isinstance(source.encoder, WrappedEncoder):
        check_sizes(graph, source.encoder, source.vocab_size)
        source.release()
    fp32_logprobs = _fp32_logprobs(graph, source, [*batches, *sentences_of(pairs)], scratch)
    comparison = compare(torch_logprobs, fp32_logprobs, batches, pairs)
    return _entry("fp32", graph, comparison, "PyTorch", text, options)


def _fp32_logprobs(graph: Graph, source: Checkpoint, batches: list[MaskedBatch], scratch: Path) -> Logprobs:
    """What the fp32 graph says of these batches: it is asked each once in an export, and its answers are kept."""
    return cached_logprobs(graph_logprobs(graph, source.vocab_size), batches, scratch / "fp32")


def _export_quantized(
    source: Checkpoint, text: _Text, directory: Path, scratch: Path, options: ExportOptions, progress: Progress
) -> dict[str, GraphEntry]:
    """The quantized graphs, each compared with fp32, which has answered and is closed before they are made."""
    wanted = [precision for precision in parse_precisions(options.precision) if precision != "fp32"]
    batches, pairs = text.evaluation.for_quantized
    progress("Asking fp32")
    graph = OnnxGraph(directory / graph_file("fp32"))
    fp32_logprobs = graph_logprobs(graph, source.vocab_size)
    reference = ReferenceLogprobs(fp32_logprobs, text.calibration, scratch)
    fp32 = _fp32_logprobs(graph, source, [*batches, *sentences_of(pairs)], scratch)
    del graph, fp32_logprobs
    release_memory()
    gate = options.limits if options.gate else None
    models = quantized_graphs(source.reloaded(), wanted, text.calibration, reference, scratch, gate, progress)
    _save_quantized(models, directory, source.vocab_size)
    entries = {}
    for precision in wanted:
        progress(f"Comparing {precision} with fp32")
        graph = OnnxGraph(directory / graph_file(precision))
        comparison = compare(fp32, graph_logprobs(graph, source.vocab_size), batches, pairs)
        entries[precision] = _entry(precision, graph, comparison, "fp32", text, options)
    return entries


def _prove_standard(
    source: Checkpoint, text: _Text, directory: Path, options: ExportOptions, progress: Progress
) -> dict[str, GraphEntry]:
    """The standard graphs that lie in `directory`, each compared with what it was made from. Raises GateError."""
    if not options.standard:
        return {}
    progress("Comparing the standard graphs, with padding")
    source, entries = source.reloaded(), {}
    files = standard_files(["fp32", *parse_precisions(options.precision)])
    comparisons = compare_standard_graphs(source, directory, files, *text.evaluation.for_quantized)
    for precision, comparison in comparisons.items():
        reference = "PyTorch" if precision == "fp32" else FP32_FILE
        verification = _verification(precision, comparison, reference, text, options)
        inputs, outputs = standard_inputs(source), dict(STANDARD_OUTPUTS)
        entries[precision] = GraphEntry(files[precision], verification, (), inputs, outputs)
    return entries


def _save_quantized(models: Mapping[str, ir.Model], directory: Path, vocab_size: int) -> None:
    """Write the scoring graphs of all quantized precisions, sharing what weights they can, and forget their weights."""
    for model in models.values():
        add_scoring_outputs(model, vocab_size)
    save_graphs({directory / graph_file(precision): model for precision, model in models.items()})
    for model in models.values():
        drop_weights(model.graph.initializers.values())
    release_memory()


def _write(model: ir.Model, directory: Path, precision: str, vocab_size: int) -> None:
    """Write the scoring graph of a precision."""
    add_scoring_outputs(model, vocab_size)
    path = directory / graph_file(precision)
    ir.save(model, path, external_data=f"{path.name}.data")
    drop_weights(model.graph.initializers.values())


def graph_file(precision: str) -> str:
    """Where a precision's graph lies within a bundle."""
    return f"onnx/{precision}.onnx"


def _entry(
    precision: str, graph: Graph, comparison: Comparison, reference: str, text: _Text, options: ExportOptions
) -> GraphEntry:
    verification = _verification(precision, comparison, reference, text, options)
    return GraphEntry(graph_file(precision), verification, golden_vectors(graph, text.evaluation.length_sweep))


def _verification(
    precision: str, comparison: Comparison, reference: str, text: _Text, options: ExportOptions
) -> dict[str, Any]:
    """What a manifest says of a comparison. Raises GateError where it is outside its limits and there is a gate."""
    limits, metrics = options.limits[precision], comparison.as_dict()
    failures = [f"{precision}: {failure}" for failure in limits.failures(comparison)]
    if math.isnan(comparison.mean_kl.value) and options.gate:
        raise GateError(
            f"{precision} says no numbers (NaN) of some text, where {reference} does: its sums overflow. Nothing was "
            "written. Export another --precision, or write it all the same with --no-gate"
        )
    if failures and options.gate:
        raise GateError(
            "; ".join(failures) + ". Nothing was written. Give calibration text closer to the model's own, relax the "
            "limit with the flag named, or write it all the same with --no-gate"
        )
    return {
        "reference": reference,
        "passed": not failures,
        "failures": failures,
        "limits": limits.active,
        "text": text.verified_on,
        **(without_perplexity(metrics) if text.verified_on == "random tokens" else metrics),
    }


def compare_standard_graphs(
    source: Checkpoint,
    directory: Path,
    files: Mapping[str, str],
    batches: list[MaskedBatch],
    pairs: Sequence[MinimalPair],
) -> dict[str, Comparison]:
    """The standard graphs in the directory, as `standard_files` names them, on padded texts: fp32 compared with
    PyTorch, the quantized one with fp32."""
    reference, comparisons = standard_reference(source), {}
    for precision, file in files.items():
        candidate = standard_logprobs(directory / file, source)
        comparisons[precision] = compare(reference, candidate, batches, pairs)
        reference = candidate
    return comparisons
