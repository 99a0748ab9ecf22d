"""Two bundles -> how far their predictions differ."""

from collections.abc import Sequence
from pathlib import Path

from maskedge.bundle.engine import OnnxGraph
from maskedge.bundle.format import Bundle
from maskedge.inference.encoding import TextEncoder
from maskedge_export.errors import ExportError
from maskedge_export.evaluation.comparison import Comparison, compare
from maskedge_export.evaluation.evaluation_set import evaluation_set
from maskedge_export.evaluation.logprobs import Logprobs, graph_logprobs
from maskedge_export.evaluation.texts import read_texts, split_texts

__all__ = ["compare_bundles"]


def compare_bundles(candidate: Bundle, reference: Bundle, paths: Sequence[Path]) -> dict[str, Comparison]:
    """For each precision that both have, the comparison on the held-out part of the text.

    Args:
        candidate: The bundle whose predictions are measured.
        reference: The bundle that they are held against; its tokenizer reads the text.
        paths: Text, JSONL and Parquet files, or globs of them.

    Raises ExportError where the bundles have different vocabularies or no precision in common.
    """
    if candidate.manifest.vocab_size != reference.manifest.vocab_size:
        raise ExportError(f"{candidate.path} and {reference.path} have vocabularies of different sizes")
    shared = [name for name in reference.manifest.graphs if name in candidate.manifest.graphs]
    if not shared:
        raise ExportError(f"{candidate.path} and {reference.path} have no precision in common")
    _, held_out = split_texts(read_texts(paths))
    batches, pairs = evaluation_set(held_out, TextEncoder.of_bundle(reference)).for_quantized
    return {name: compare(_logprobs(reference, name), _logprobs(candidate, name), batches, pairs) for name in shared}


def _logprobs(bundle: Bundle, precision: str) -> Logprobs:
    _, entry = bundle.graph(precision)
    return graph_logprobs(OnnxGraph(bundle.graph_file(entry)), bundle.manifest.vocab_size)
