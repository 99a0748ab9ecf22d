"""Checkpoint -> verified bundle on disk: every step of an export, in order."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from maskedge.bundle import MANIFEST_NAME, FileEntry, GoldenVector, GraphEntry, Manifest, file_sha256
from maskedge.encoding import TextEncoder
from maskedge.engine import Graph, OnnxGraph
from maskedge_export.calibration import Batch, masked_cells, read_texts, split_texts, too_few, verification_cells
from maskedge_export.card import write_card
from maskedge_export.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.errors import CalibrationTextError, ExportError, GateError
from maskedge_export.graph import add_scoring_outputs, encoder_graph
from maskedge_export.minimal_pairs import MinimalPair, minimal_pairs
from maskedge_export.quantization import matmul_inputs, observe_activations, quantize
from maskedge_export.sensitivity import finer_activations
from maskedge_export.smoothing import smoothed
from maskedge_export.staging import staging
from maskedge_export.verification import (
    Comparison,
    Limits,
    Logprobs,
    compare,
    graph_logprobs,
    ladder_batches,
    model_logprobs,
)

__all__ = ["PRECISIONS", "ExportOptions", "export_bundle"]

PRECISIONS = {"int8": ("int8",), "fp32": ("fp32",), "both": ("int8", "fp32")}
"""What each choice puts into the bundle; the first is the bundle's default."""

GOLDEN_VECTORS = 8
SMOOTHING_SHARE = 4
"""One batch in so many is enough to see which channels are outliers; ranges need more text."""
GOLDEN_TOP_K = 5

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a checkpoint becomes a bundle."""

    precision: str = "int8"
    """A key of PRECISIONS."""
    calibration: tuple[Path, ...] = ()
    """Text and Parquet files: int8 is calibrated on some of their texts, and verified on others."""
    limits: Limits = field(default_factory=Limits)
    gate: bool = True
    """False writes a bundle that failed, and says so in its manifest and card."""
    name: str | None = None
    """The model's name; the checkpoint's by default."""
    revision: str | None = None
    """Of a Hub checkpoint."""
    overwrite: bool = False
    few_texts: bool = False
    """Accept too few texts to divide: int8 is calibrated on all their tokens and verified on the same ones, and the
    proof says so. For a model that knows no more text than this."""


@dataclass(frozen=True, slots=True)
class _Text:
    """The masked cells of an export; random tokens where no text was given."""

    calibration: list[Batch]
    verification: list[Batch]
    ladder: list[Batch]
    """One text of each of many lengths."""
    pairs: list[MinimalPair]
    held_out: bool = True
    """Whether verification has texts that calibration has not."""


def export_bundle(
    checkpoint: str, out: Path, options: ExportOptions, progress: Progress = lambda step: None
) -> Manifest:
    """Export a checkpoint directory or Hub id, prove it, and publish the bundle at `out` in one step.

    Raises ExportError, or one of its kinds, with nothing written: for options or text that cannot be used, a checkpoint
    that cannot be loaded, or (GateError) an export outside its limits.
    """
    _check_options(out, options)
    progress("Loading the checkpoint")
    source = load_checkpoint(checkpoint, revision=options.revision)
    with staging(out, options.overwrite) as directory:
        source.tokenizer.save_pretrained(directory)
        source.model.config.save_pretrained(directory)  # type: ignore[operator, union-attr]
        encoder = TextEncoder.from_file(directory / "tokenizer.json", source.tokenizer.mask_token, source.max_length)
        text = _masked_text(encoder, options, source.encoder.config.vocab_size)
        graphs = _export_graphs(source, text, directory, options, progress)
        progress("Writing manifest and model card")
        return _write_manifest(source, directory, graphs, options)


def _check_options(out: Path, options: ExportOptions) -> None:
    if options.precision not in PRECISIONS:
        raise ExportError(f"precision {options.precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if "int8" in PRECISIONS[options.precision] and not options.calibration:
        raise CalibrationTextError(
            "int8 needs text to calibrate on: give --calibration FILE (text or Parquet), or export --precision fp32"
        )
    if out.exists() and not options.overwrite:
        raise ExportError(f"{out} exists; choose another --out, or replace it with --overwrite")
    if out.exists() and not (out / MANIFEST_NAME).is_file():
        raise ExportError(f"{out} exists and is no bundle, so it is not overwritten; choose another --out")


def _masked_text(encoder: TextEncoder, options: ExportOptions, vocab_size: int) -> _Text:
    if not options.calibration:
        ids = np.random.default_rng(0).integers(0, vocab_size, encoder.max_length).tolist()
        ladder = ladder_batches(ids, encoder.mask_id, encoder.max_length)
        return _Text([], ladder, ladder, [])
    texts = read_texts(options.calibration)
    if few := options.few_texts and bool(texts) and too_few(texts):
        verification = texts
        cells = calibration_cells = verification_cells(texts, encoder)
    else:
        calibration, verification = split_texts(texts)
        cells, calibration_cells = verification_cells(verification, encoder), masked_cells(calibration, encoder)
    running = np.concatenate([batch.input_ids.ravel() for batch in cells]).tolist()
    ladder = ladder_batches(running, encoder.mask_id, encoder.max_length)
    return _Text(calibration_cells, cells, ladder, minimal_pairs(verification, encoder), held_out=not few)


def _export_graphs(
    source: Checkpoint, text: _Text, directory: Path, options: ExportOptions, progress: Progress
) -> dict[str, GraphEntry]:
    """Each precision's graph, written below `directory`, verified, with golden vectors. Raises GateError."""
    (directory / "onnx").mkdir()
    vocab_size = source.encoder.config.vocab_size
    wanted = PRECISIONS[options.precision]

    progress("Exporting the fp32 graph")
    fp32 = _save(encoder_graph(source.encoder), directory, "fp32")
    progress("Comparing fp32 with PyTorch")
    fp32_logprobs = graph_logprobs(fp32, vocab_size)
    against_torch = compare(model_logprobs(source.model), fp32_logprobs, [*text.ladder, *text.verification], text.pairs)
    entries = {"fp32": _entry("fp32", fp32, against_torch, "PyTorch", text, options)}

    if "int8" in wanted:
        int8 = _quantized(source, text, fp32_logprobs, directory, progress)
        progress("Comparing int8 with fp32")
        against_fp32 = compare(fp32_logprobs, graph_logprobs(int8, vocab_size), text.verification, text.pairs)
        entries["int8"] = _entry("int8", int8, against_fp32, "fp32", text, options)
    if "fp32" not in wanted:
        for file in (directory / "onnx").glob("fp32.onnx*"):
            file.unlink()
    return {precision: entries[precision] for precision in wanted}


def _quantized(source: Checkpoint, text: _Text, fp32_logprobs: Logprobs, directory: Path, progress: Progress) -> Graph:
    progress("Smoothing outlier channels")
    encoder = smoothed(source.encoder, text.calibration[::SMOOTHING_SHARE])
    model = encoder_graph(encoder)
    progress("Finding the activations' ranges")
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        samples = observe_activations(_with_outputs(model, Path(scratch)), matmul_inputs(model), text.calibration)
    progress("Measuring which activations need finer steps")
    fine = finer_activations(model, samples, fp32_logprobs, text.calibration)
    progress("Quantizing to int8")
    quantize(model, samples, fine)
    return _save(model, directory, "int8")


def _with_outputs(model: ir.Model, directory: Path) -> Path:
    """The graph saved with the inputs of its weighted products as outputs."""
    probe = model.clone()
    outputs = probe.graph.outputs
    outputs.extend(value for value in matmul_inputs(probe).values() if value not in outputs)
    path = directory / "probe.onnx"
    ir.save(probe, path, external_data="probe.onnx.data")
    return path


def _save(model: ir.Model, directory: Path, precision: str) -> Graph:
    """Write the scoring graph of a precision, and open it as the runtime will."""
    add_scoring_outputs(model)
    path = directory / graph_file(precision)
    ir.save(model, path, external_data=f"{path.name}.data")
    return OnnxGraph(path)


def graph_file(precision: str) -> str:
    """Where a precision's graph lies within a bundle."""
    return f"onnx/{precision}.onnx"


def _entry(
    precision: str, graph: Graph, comparison: Comparison, reference: str, text: _Text, options: ExportOptions
) -> GraphEntry:
    failures = options.limits.failures(precision, comparison)
    if failures and options.gate:
        raise GateError(
            "; ".join(failures) + ". Nothing was written. Give calibration text closer to the model's own, relax the "
            "limit, or write it all the same with --no-gate"
        )
    verification = {
        "reference": reference,
        "passed": not failures,
        "failures": failures,
        "held_out": text.held_out,
        **comparison.as_figures(),
    }
    return GraphEntry(graph_file(precision), verification, _golden(graph, text.ladder))


def _golden(graph: Graph, batches: Sequence[Batch]) -> tuple[GoldenVector, ...]:
    return tuple(_golden_vector(graph, batch) for batch in batches[:GOLDEN_VECTORS])


def _golden_vector(graph: Graph, batch: Batch) -> GoldenVector:
    inputs = {
        "input_ids": batch.input_ids,
        "mask_positions": batch.mask_positions,
        "target_ids": batch.targets[:, :, np.newaxis],
        "top_k": np.array([GOLDEN_TOP_K]),
    }
    outputs: dict[str, Any] = graph.run(["top_ids", "top_logprobs"], inputs)
    return GoldenVector(
        input_ids=tuple(batch.input_ids[0].tolist()),
        mask_positions=tuple(batch.mask_positions[0].tolist()),
        top_ids=tuple(map(tuple, outputs["top_ids"][0].tolist())),
        top_logprobs=tuple(map(tuple, outputs["top_logprobs"][0].tolist())),
    )


def _write_manifest(
    source: Checkpoint, directory: Path, graphs: dict[str, GraphEntry], options: ExportOptions
) -> Manifest:
    name = options.name or source.name
    write_card(directory / "README.md", name, source, graphs, options.limits)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    manifest = Manifest(
        name=name,
        source={"name": source.name, "model_type": source.model_type, "fingerprint": source.fingerprint},
        mask_token=source.tokenizer.mask_token,
        max_length=source.max_length,
        vocab_size=source.encoder.config.vocab_size,
        graphs=graphs,
        files={
            path.relative_to(directory).as_posix(): FileEntry(file_sha256(path), path.stat().st_size) for path in files
        },
    )
    (directory / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest
