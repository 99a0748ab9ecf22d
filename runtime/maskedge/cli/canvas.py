"""A canvas that steps are drawn on from top to bottom, along a rail with their numbers."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from maskedge.cli.drawing import INK, LINE, QUIET, WHITE, shortened, width_of

__all__ = ["ACCENT", "ACCENT_LIGHT", "ACCENT_PALE", "Canvas", "Span"]

ACCENT, ACCENT_LIGHT, ACCENT_PALE = "#2456c9", "#b4c6f1", "#e6edfc"

# Lengths in points; y runs downwards from the top, x rightwards from where the steps' contents begin.
WIDTH, MARGIN, INDENT = 720.0, 36.0, 36.0
TOP, BOTTOM = 40.0, 30.0
RADIUS = 10.0
LINE_FACTOR = 1.75
"""A line's height, in text sizes."""
TITLE, NUMBER = 9.5, 8.5
SPAN_PADDING = 4.0
"""Beside what is set off."""
ARROW = "-|>,head_length=3.5,head_width=2"

Span = tuple[int, int]
"""Where a part of a text begins and ends."""
Align = Literal["left", "center", "right"]


class Canvas:
    """A figure of fixed width that grows downwards; `y` is where the next thing is drawn, the middle of its line."""

    inner_width = WIDTH - 2 * MARGIN - INDENT

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH / 72, 1), facecolor=WHITE)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")
        self.y = TOP
        self._steps: list[float] = []

    def begin_step(self, title: str) -> None:
        """The next number on the rail, with the step's title beside it."""
        rail = RADIUS - INDENT
        self._steps.append(self.y)
        self.axes.add_patch(Circle((rail, self.y), RADIUS, facecolor=ACCENT_PALE, edgecolor="none"))
        self.text(rail, self.y, str(len(self._steps)), NUMBER, ACCENT, align="center", bold=True)
        self.text(0, self.y, title, TITLE, QUIET)

    def finish(self, note: str) -> Figure:
        """The figure, with the arrows down the rail, and a note at its lower right."""
        rail = RADIUS - INDENT
        for start, stop in pairwise(self._steps):
            ends = ((rail, start + RADIUS + 3), (rail, stop - RADIUS - 3))
            self.axes.add_patch(
                FancyArrowPatch(
                    *ends, arrowstyle=ARROW, mutation_scale=1, shrinkA=0, shrinkB=0, color=LINE, linewidth=1.1
                )
            )
        self.text(self.inner_width, self.y, note, NUMBER, QUIET, align="right")
        height = self.y + BOTTOM
        self.figure.set_size_inches(WIDTH / 72, height / 72)
        self.axes.set_xlim(-MARGIN - INDENT, WIDTH - MARGIN - INDENT)
        self.axes.set_ylim(height, 0)
        return self.figure

    def text(
        self, x: float, y: float, text: str, size: float, colour: str, *, align: Align = "left", bold: bool = False
    ) -> None:
        """One line of text, its middle at `y`."""
        weight = "bold" if bold else "normal"
        self.axes.text(x, y + 0.36 * size, text, size=size, color=colour, ha=align, va="baseline", weight=weight)

    def box(
        self, x: float, top: float, width: float, height: float, *, fill: str, edge: str, radius: float = 5.0
    ) -> None:
        """A box with rounded corners."""
        rounded = f"round,pad=0,rounding_size={min(radius, width / 2)}"
        self.axes.add_patch(
            FancyBboxPatch((x, top), width, height, boxstyle=rounded, facecolor=fill, edgecolor=edge, linewidth=1)
        )

    def paragraph(self, text: str, spans: Sequence[Span], size: float) -> None:
        """A text in lines, its spans set off; `y` is left at its last line."""
        x, space = 0.0, width_of("n n", size) - width_of("nn", size)
        for word in re.finditer(r"\S+", text):
            whole = shortened(word[0], size, self.inner_width - 2 * SPAN_PADDING, bold=True)
            parts = _parts(whole, word.start(), spans)
            width = sum(self._part_width(part, size, marked) for part, marked in parts)
            if x and x + width > self.inner_width:
                x, self.y = 0.0, self.y + LINE_FACTOR * size
            for part, marked in parts:
                x += self._part(x, part, size, marked)
            x += space

    def _part_width(self, part: str, size: float, marked: bool) -> float:
        return width_of(part, size, bold=marked) + 2 * SPAN_PADDING * marked

    def _part(self, x: float, part: str, size: float, marked: bool) -> float:
        width = self._part_width(part, size, marked)
        if marked:
            self.box(x, self.y - 0.75 * size, width, 1.5 * size, fill=ACCENT_PALE, edge=ACCENT_PALE)
        self.text(x + SPAN_PADDING * marked, self.y, part, size, ACCENT if marked else INK, bold=marked)
        return width


def _parts(word: str, offset: int, spans: Sequence[Span]) -> list[tuple[str, bool]]:
    """A word cut where spans begin and end, each part with whether it lies in one."""
    cuts = {cut - offset for span in spans for cut in span if 0 < cut - offset < len(word)}
    ends = [0, *sorted(cuts), len(word)]
    inside = [any(start <= at + offset < stop for start, stop in spans) for at in ends]
    return [(word[start:stop], inside[i]) for i, (start, stop) in enumerate(pairwise(ends))]
