"""What can be said of an open model and the machine it runs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from maskedge.bundle import Bundle, GraphEntry
from maskedge.cpu import CpuFeatures, cpu_features
from maskedge.predictor import Predictor

__all__ = ["Description", "GraphDescription", "describe"]


@dataclass(frozen=True, slots=True)
class GraphDescription:
    """One precision's graph."""

    precision: str
    size: int
    """Bytes, weights included."""
    verification: Mapping[str, Any]
    """How it compares with its source, from the manifest."""


@dataclass(frozen=True, slots=True)
class Description:
    """A bundle, and where it runs."""

    name: str
    path: str
    fingerprint: str
    source: Mapping[str, Any]
    """The checkpoint, from the manifest."""
    vocab_size: int
    max_length: int
    """Tokens, special ones included."""
    mask_token: str
    size: int
    """Bytes of all files."""
    graphs: tuple[GraphDescription, ...]
    """The first is the default."""
    cpu: CpuFeatures
    threads: int
    """Batches run at once on this machine."""
    versions: Mapping[str, str]


def describe(predictor: Predictor) -> Description:
    """The predictor's bundle and surroundings."""
    bundle, manifest = predictor.bundle, predictor.bundle.manifest
    return Description(
        name=manifest.name,
        path=str(bundle.path),
        fingerprint=bundle.fingerprint,
        source=dict(manifest.source),
        vocab_size=manifest.vocab_size,
        max_length=manifest.max_length,
        mask_token=manifest.mask_token,
        size=sum(entry.size for entry in manifest.files.values()),
        graphs=tuple(
            GraphDescription(precision, _graph_size(bundle, graph), dict(graph.verification))
            for precision, graph in manifest.graphs.items()
        ),
        cpu=cpu_features(),
        threads=predictor.threads,
        versions={name: version(name) for name in ("maskedge", "onnxruntime", "tokenizers", "numpy")},
    )


def _graph_size(bundle: Bundle, graph: GraphEntry) -> int:
    """Bytes of a graph and of the weights that it reads."""
    return sum(bundle.manifest.files[name].size for name in bundle.graph_files(graph))
