"""Results as a person reads them at the prompt."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from maskedge_export.evaluation.metric_labels import METRIC_LABELS, Metrics

if TYPE_CHECKING:
    from maskedge_export.bundles.inspection import Inspection, NodeTime
    from maskedge_export.training.before_after import BeforeAfter
    from maskedge_export.training.trainer import TrainingResult

__all__ = ["before_after_table", "inspection_tables", "proof_table", "training_table"]

BESIDE = 2
"""Comparisons that 80 columns have room for."""


def proof_table(metrics: Mapping[str, Metrics]) -> RenderableType:
    """Comparisons side by side: a column for each, a row for each figure with its 95 % interval."""
    names = list(metrics)
    pairs = [names[start : start + BESIDE] for start in range(0, len(names), BESIDE)]
    return Group(*(_proof_columns({name: metrics[name] for name in pair}) for pair in pairs))


def _proof_columns(metrics: Mapping[str, Metrics]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for name in metrics:
        table.add_column(name, justify="right", overflow="fold")
    for label, show in METRIC_LABELS.items():
        table.add_row(label, *(show(column) for column in metrics.values()))
    return table


def inspection_tables(inspection: "Inspection") -> RenderableType:
    """What a graph is made of, and where its time goes."""
    return Group(
        _summary(inspection),
        _operators(inspection),
        _nodes("the slowest nodes", inspection.slowest),
        _nodes("products left in fp32, which could be int8", inspection.left_in_float)
        if inspection.left_in_float
        else "",
    )


def _summary(inspection: "Inspection") -> Table:
    table = Table.grid(padding=(0, 2))
    weights = ", ".join(f"{kind} {size / 1e6:.2f} MB" for kind, size in inspection.weights.items())
    fused = ", ".join(f"{name} {count}" for name, count in inspection.fused.items()) or "nothing"
    rows = {
        "graph": f"{inspection.file} ({inspection.precision}), {inspection.size / 1e6:.1f} MB",
        "weights": f"{weights}; {inspection.quantized_weights:.1%} of them in at most 8 bits",
        "matrix products": f"{inspection.integer_work:.1%} of their work in 8-bit integers",
        "fused here": fused,
        "one run": f"{inspection.seconds * 1e3:.1f} ms on one thread: {inspection.batch}",
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", value)
    return table


def _operators(inspection: "Inspection") -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("operator")
    for heading in ("saved", "run here", "time"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys([*inspection.time, *inspection.saved]):
        saved, run, share = (
            source.get(name, 0) for source in (inspection.saved, inspection.optimized, inspection.time)
        )
        table.add_row(name, str(saved or ""), str(run or ""), f"{share:.1%}" if share else "")
    return table


def _nodes(title: str, nodes: Iterable["NodeTime"]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in (title, "operator"):
        table.add_column(heading)
    table.add_column("time", justify="right")
    for node in nodes:
        table.add_row(node.weight or node.name, node.operator, f"{node.seconds * 1e3:.3f} ms")
    return table


def before_after_table(comparison: "BeforeAfter") -> Table:
    """What an adaptation changed, by how often words occur and by their pieces."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("perplexity of a word, held out")
    for heading in ("words", "before", "after", "after / before (95 %)"):
        table.add_column(heading, justify="right")
    for group in (comparison.overall, *comparison.by_frequency, *comparison.by_pieces):
        table.add_row(*group.row())
    return table


def training_table(result: "TrainingResult") -> Table:
    """How a training ended: by the last line of its log, and on text kept out of it."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for heading in ("loss, nats", "perplexity", "accuracy", "masked tokens"):
        table.add_column(heading, justify="right")
    if last := result.last:
        table.add_row("training", f"{last.loss:.4f}", "", f"{last.accuracy:.1%}", "")
    if held_out := result.held_out:
        loss, count = math.log(held_out.perplexity), held_out.masked_tokens
        table.add_row(
            "held out", f"{loss:.4f}", f"{held_out.perplexity:,.2f}", f"{held_out.accuracy:.1%}", f"{count:,}"
        )
    return table
