"""A model's description as tables for a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from maskedge.description import Description, GraphDescription
from maskedge.tables import QUIET, labelled, plain_table
from maskedge.verification_table import cpu_line

__all__ = ["description_table"]


def description_table(description: Description) -> RenderableType:
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
        figures = graph.verification
        table.add_row(
            graph.precision,
            f"{graph.size / 1e6:,.1f}",
            _figure(figures.get("mean_kl"), ".5f"),
            _figure(figures.get("top1_agreement"), ".1%"),
            _figure(figures.get("perplexity_change"), "+.2%"),
            _proof(graph),
        )
    return table


def _proof(graph: GraphDescription) -> Text:
    passed = graph.verification.get("passed")
    verdict = Text("passed", style="green") if passed else Text("outside its limits", style="yellow")
    return verdict.append(f" against {graph.verification.get('reference', 'its source')}", style=QUIET)


def _figure(value: float | None, form: str) -> str:
    return format(value, form) if value is not None else ""


def _machine(description: Description) -> Iterator[tuple[str, RenderableType]]:
    yield "this CPU", cpu_line(description.cpu)
    yield "threads", str(description.threads)
    yield "versions", ", ".join(f"{name} {number}" for name, number in description.versions.items())
