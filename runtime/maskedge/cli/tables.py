"""What all tables for a terminal are made of. Nothing is printed here."""

import math
from collections.abc import Iterable

from rich.bar import Bar
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from maskedge.spelling import abridged, mask_spans

__all__ = [
    "ACCENT",
    "QUIET",
    "bar",
    "entropy",
    "labelled",
    "plain_table",
    "sentence",
]

ACCENT, QUIET = "cyan", "bright_black"
BAR_WIDTH = 30
"""Columns of a probability of 1."""


def sentence(text: str, mask_token: str) -> Text:
    """A text with its masks set off."""
    line = Text(abridged(text, mask_token))
    for start, stop in mask_spans(line.plain, mask_token):
        line.stylize(f"bold {ACCENT}", start, stop)
    return line


def bar(probability: float, width: int = BAR_WIDTH) -> Bar:
    """A probability as a length, of which `width` columns are 1."""
    return Bar(1.0, 0.0, probability, width=width, color=ACCENT)


def entropy(nats: float) -> Text:
    """How unsure a prediction is, in a line."""
    certainty = f"as unsure as between {math.exp(nats):,.1f} equally likely tokens"
    return Text(f"entropy {nats:.2f} nats: {certainty}", style=QUIET)


def labelled(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Values with a label before each."""
    table = Table.grid(padding=(0, 3))
    table.add_column(style=QUIET, no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, value)
    return table


def plain_table(*headings: str) -> Table:
    """A table without lines; `>` before a heading aligns its column to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style=QUIET)
    for heading in headings:
        table.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    return table
