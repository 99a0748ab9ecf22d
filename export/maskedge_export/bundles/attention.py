"""The attention graphs of a bundle, beside its scoring graphs."""

from collections.abc import Mapping
from pathlib import Path

from maskedge.bundle.engine import OnnxGraph
from maskedge.bundle.format import ATTENTION_INPUTS, ATTENTION_OUTPUTS, GraphEntry
from maskedge_export.errors import GateError
from maskedge_export.evaluation.attention import AttentionReference, compare_attention
from maskedge_export.graphs.attention import save_attention_graph

__all__ = ["export_attention"]


def export_attention(
    directory: Path, scoring: Mapping[str, GraphEntry], reference: AttentionReference, *, gate: bool
) -> dict[str, GraphEntry]:
    """Write the attention graph of each scoring graph in `directory`, and compare it with PyTorch.

    Raises GateError where there is a gate and the fp32 graph's probabilities are not PyTorch's.
    """
    return {name: _export(directory, name, entry, reference, gate) for name, entry in scoring.items()}


def _export(
    directory: Path, precision: str, entry: GraphEntry, reference: AttentionReference, gate: bool
) -> GraphEntry:
    file = f"onnx/{precision}.attention.onnx"
    save_attention_graph(directory / entry.file, directory / file)
    found = compare_attention(reference, OnnxGraph(directory / file))
    failures = [f"{precision}: {failure}" for failure in found.failures(precision)]
    if failures and gate:
        raise GateError(f"{failures[0]}. Nothing was written. Write it all the same with --no-gate")
    verification = {"reference": "PyTorch", "passed": not failures, "failures": failures, **found.as_dict()}
    return GraphEntry(file, verification, (), dict(ATTENTION_INPUTS), dict(ATTENTION_OUTPUTS))
