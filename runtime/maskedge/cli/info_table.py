"""What `mlm info` shows: a bundle and the machine it runs on, as values and as a table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from maskedge.bundle.cpu import CpuFeatures, cpu_features
from maskedge.bundle.engine import PACKAGES
from maskedge.bundle.format import Bundle, GraphEntry
from maskedge.cli.tables import QUIET, labelled, plain_table
from maskedge.cli.verification_table import cpu_line
from maskedge.predictor import Predictor

__all__ = ["Description", "GraphDescription", "describe", "info_table"]


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
    runtime: str
    """What runs the graphs on this machine."""
    threads: int
    """Batches run at once."""
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
        runtime=predictor.engine,
        threads=predictor.threads,
        versions={name: version(name) for name in ("maskedge", PACKAGES[predictor.engine], "tokenizers", "numpy")},
    )


def _graph_size(bundle: Bundle, graph: GraphEntry) -> int:
    """Bytes of a graph and of the weights that it reads."""
    return sum(bundle.manifest.files[name].size for name in bundle.graph_files(graph))


def info_table(description: Description) -> RenderableType:
    """The model, its graphs with their proofs, and the machine."""
    return Group(labelled(_model(description)), "", _graphs(description.graphs), "", labelled(_machine(description)))


def _model(description: Description) -> Iterator[tuple[str, RenderableType]]:
    source = description.source
    yield "model", Text(description.name, style="bold")
    yield "made from", f"{source.get('name', 'unknown')} ({source.get('model_type', 'unknown')})"
    yield "vocabulary", f"{description.vocab_size:,} tokens, mask token {description.mask_token}"
    yield "longest text", f"{description.max_length:,} tokens"
    yield "size", f"{description.size / 1e6:,.1f} MB"
    yield "path", description.path
    yield "fingerprint", description.fingerprint


def _graphs(graphs: tuple[GraphDescription, ...]) -> RenderableType:
    table = plain_table("graph", ">size, MB", ">mean KL, nats", ">top-1 agrees", ">perplexity", "proof")
    for graph in graphs:
        metrics = graph.verification
        table.add_row(
            graph.precision,
            f"{graph.size / 1e6:,.1f}",
            _formatted(metrics.get("mean_kl"), ".5f"),
            _formatted(metrics.get("top1_agreement"), ".1%"),
            _formatted(metrics.get("perplexity_change"), "+.2%"),
            _proof(graph),
        )
    return table


def _proof(graph: GraphDescription) -> Text:
    passed = graph.verification.get("passed")
    verdict = Text("passed", style="green") if passed else Text("outside its limits", style="yellow")
    return verdict.append(f" against {graph.verification.get('reference', 'its source')}", style=QUIET)


def _formatted(value: float | None, form: str) -> str:
    return format(value, form) if value is not None else ""


def _machine(description: Description) -> Iterator[tuple[str, RenderableType]]:
    yield "this CPU", cpu_line(description.cpu)
    yield "runtime", description.runtime
    yield "threads", str(description.threads)
    yield "versions", ", ".join(f"{name} {number}" for name, number in description.versions.items())
