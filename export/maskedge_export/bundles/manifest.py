"""A bundle's manifest, and the golden vectors in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskedge.bundle.engine import Graph, graph_inputs
from maskedge.bundle.format import MANIFEST_NAME, FileEntry, GoldenVector, GraphEntry, Manifest, file_sha256
from maskedge_export.bundles.model_card import write_model_card
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.evaluation.masked_tokens import MaskedBatch

__all__ = ["golden_vectors", "write_manifest"]

GOLDEN_VECTORS = 8
GOLDEN_TOP_K = 5


def golden_vectors(graph: Graph, batches: Sequence[MaskedBatch]) -> tuple[GoldenVector, ...]:
    """What the graph says here and now to the first of the batches, for other machines to be held against."""
    return tuple(_golden_vector(graph, batch) for batch in batches[:GOLDEN_VECTORS])


def _golden_vector(graph: Graph, batch: MaskedBatch) -> GoldenVector:
    targets = batch.targets[:, :, np.newaxis]
    inputs = graph_inputs(batch.input_ids, batch.mask_positions, targets, GOLDEN_TOP_K)
    outputs: dict[str, Any] = graph.run(["top_ids", "top_logprobs"], inputs)
    return GoldenVector(
        input_ids=tuple(batch.input_ids[0].tolist()),
        mask_positions=tuple(batch.mask_positions[0].tolist()),
        top_ids=tuple(map(tuple, outputs["top_ids"][0].tolist())),
        top_logprobs=tuple(map(tuple, outputs["top_logprobs"][0].tolist())),
    )


def write_manifest(
    name: str,
    source: Checkpoint,
    directory: Path,
    graphs: dict[str, GraphEntry],
    standard: dict[str, GraphEntry],
    attention: dict[str, GraphEntry],
    calibration: Mapping[str, Any],
) -> Manifest:
    """Write a bundle's model card, and the manifest of all its files."""
    write_model_card(directory / "README.md", name, source, graphs, standard, attention)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    manifest = Manifest(
        name=name,
        source={"name": source.name, "model_type": source.model_type, "fingerprint": source.fingerprint},
        mask_token=source.tokenizer.mask_token,
        max_length=source.max_length,
        vocab_size=source.vocab_size,
        graphs=graphs,
        files={
            path.relative_to(directory).as_posix(): FileEntry(file_sha256(path), path.stat().st_size) for path in files
        },
        standard=standard,
        attention=attention,
        calibration=calibration if any(precision != "fp32" for precision in graphs) else {},
    )
    (directory / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest
