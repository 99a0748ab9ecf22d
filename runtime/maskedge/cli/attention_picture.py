"""Attention as pictures: a heat map of one head, and a sheet with all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imsave
from matplotlib.patches import Rectangle

from maskedge.cli.attention_colours import LIGHT
from maskedge.cli.attention_view import AttentionView
from maskedge.cli.drawing import DPI, INK, LINE, WHITE, metadata_of, shortened, width_of
from maskedge.spelling import printable, visible

__all__ = ["HeadPictures", "Pixels", "draw_sheet", "write_png"]

Pixels = npt.NDArray[np.uint8]
"""[height, width, 4]: RGBA."""

# Lengths in points; y runs downwards from the top.
MARGIN = 28
TITLE, SUBTITLE, AXIS, LABEL, SMALL = 16.0, 10.5, 9.5, 11.0, 8.5
SOFT = "#566072"
MAP = 400
"""What a heat map of middling size is wide and high."""
SMALLEST_CELL, LARGEST_CELL, RULED_CELL = 9, 60, 16
LABEL_ROOM = 110
"""Longest label of a token."""
BAR_GAP, BAR_WIDTH, BAR_ROOM = 24, 11, 62
SHORTEST_BAR, LONGEST_BAR = 120.0, 240.0
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
THUMBNAIL, THUMBNAIL_GAP = 56, 8

COLOURS = ListedColormap(LIGHT / 255)


class HeadPictures:
    """The pictures of a view's heads: all that they share is laid out and drawn once."""

    def __init__(self, view: AttentionView) -> None:
        self._view = view
        count = len(view.tokens)
        self.cell = max(SMALLEST_CELL, min(LARGEST_CELL, MAP // count))
        """Height and width of a weight, points."""
        size = max(SMALL - 1, min(LABEL, 0.72 * self.cell))
        labels = [shortened(visible(token), size, LABEL_ROOM) for token in view.tokens]
        room = round(max(width_of(label, size, bold=True) for label in labels)) + 8
        side = self.cell * count
        self.left, self.top = MARGIN + 18 + room, MARGIN + 64
        """Where the heat map begins, points."""
        self._page = _Page(view, (self.left, self.top, side, side), room + 26)
        axes = self._page.axes
        self._image = _heat_map(axes, view.weights[0, 0], (0, side, side, 0))
        self._over: list[Any] = [*_rules(axes, self.cell, count), _frame(axes, side)]
        _name_tokens(axes, labels, view.masks, self.cell, size)
        axes.text(
            -room - 8, side / 2, "query: the token that looks", **_axis_style(), rotation=90, ha="right", va="center"
        )
        axes.text(side / 2, side + room + 8, "key: the token looked at", **_axis_style(), ha="center", va="top")
        self._over.append(self._page.title)
        for artist in (self._image, *self._over):
            artist.set_animated(True)  # drawn anew for each head
        self._page.canvas.draw()  # type: ignore[no-untyped-call]
        self._background = np.array(self._page.canvas.buffer_rgba())  # type: ignore[no-untyped-call]

    def pixels(self, layer: int, head: int) -> Pixels:
        """The picture of a head, by its indices in the view."""
        figure, canvas = self.figure(layer, head), self._page.canvas
        pixels: Pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        pixels[:] = self._background
        self._paint(pixels, COLOURS(self._view.weights[layer, head], bytes=True))
        for artist in self._over:
            figure.draw_artist(artist)
        return pixels.copy()

    def _paint(self, pixels: Pixels, colours: Pixels) -> None:
        """Fills the heat map: a quarter of the time that resampling its image takes."""
        cell, top, left = (round(length * DPI / 72) for length in (self.cell, self.top, self.left))
        rows, columns = (slice(start, start + cell * len(colours)) for start in (top, left))
        pixels[rows, columns] = colours.repeat(cell, axis=0).repeat(cell, axis=1)

    def words(self, layer: int, head: int) -> tuple[str, str]:
        """The picture's title and description, for its file."""
        return f"{self._view.title_of(layer, head)} of {self._view.model}", self._view.text

    def figure(self, layer: int, head: int) -> Figure:
        """The same to be saved in another format; it is good until the next one is asked for."""
        self._image.set_data(self._view.weights[layer, head])
        self._page.title.set_text(self._view.title_of(layer, head))
        return self._page.figure


def draw_sheet(view: AttentionView) -> Figure:
    """Every head of a view as a thumbnail: layers down, heads across."""
    count = len(view.tokens)
    side = count * max(1, round(2 * THUMBNAIL / count)) / 2  # a weight has whole pixels
    step = side + THUMBNAIL_GAP
    width, height = step * len(view.heads) - THUMBNAIL_GAP, step * len(view.layers) - THUMBNAIL_GAP
    page = _Page(view, (MARGIN + 40, MARGIN + 88, width, height), 8)
    page.title.set_text("Attention of every head")
    page.axes.text(width / 2, -22, "head", **_axis_style(), ha="center")
    page.axes.text(-26, height / 2, "layer", **_axis_style(), rotation=90, ha="right", va="center")
    for column, number in enumerate(view.heads):
        page.axes.text(column * step + side / 2, -7, str(number), size=AXIS, color=INK, ha="center")
    for row, number in enumerate(view.layers):
        page.axes.text(-8, row * step + side / 2, str(number), size=AXIS, color=INK, ha="right", va="center")
        for column in range(len(view.heads)):
            x, y = column * step, row * step
            _heat_map(page.axes, view.weights[row, column], (x, x + side, y + side, y))
            page.axes.add_patch(_box(x, y, side, side))
    return page.figure


class _Page:
    """A figure with one pair of axes, in points, around what is drawn; with the text above and a colour bar beside."""

    def __init__(self, view: AttentionView, box: tuple[float, float, float, float], below: float) -> None:
        left, top, width, height = box
        height = max(height, SHORTEST_BAR)
        notes = [*view.notes, view.model]
        total_width = max(left + width + BAR_GAP + BAR_WIDTH + BAR_ROOM, 380.0)
        total_height = top + height + below + 20 + 13 * len(notes) + MARGIN - 10
        self.figure = Figure(figsize=(total_width / 72, total_height / 72), dpi=DPI, facecolor=WHITE)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")
        self.axes.set_xlim(-left, total_width - left)
        self.axes.set_ylim(total_height - top, -top)
        room = total_width - 2 * MARGIN
        self.title = self.axes.text(MARGIN - left, MARGIN + 17 - top, "", size=TITLE, color=INK, weight="bold")
        text = shortened(printable(view.text), SUBTITLE, room)
        self.axes.text(MARGIN - left, MARGIN + 37 - top, text, size=SUBTITLE, color=SOFT)
        for line, note in enumerate(notes):
            y = height + below + 20 + 13 * line
            self.axes.text(MARGIN - left, y, shortened(printable(note), SMALL, room), size=SMALL, color=SOFT, va="top")
        _colour_bar(self.axes, width + BAR_GAP, min(height, LONGEST_BAR))


def _axis_style() -> dict[str, Any]:
    return {"size": AXIS, "color": SOFT}


def _heat_map(
    axes: Axes, weights: npt.NDArray[np.floating[Any]], extent: tuple[float, float, float, float]
) -> AxesImage:
    limits = axes.get_xlim(), axes.get_ylim()
    image = axes.imshow(
        weights, cmap=COLOURS, vmin=0, vmax=1, interpolation="nearest", aspect="auto", extent=extent, zorder=1
    )
    axes.set(xlim=limits[0], ylim=limits[1])  # which an image would take for its own
    return image


def _rules(axes: Axes, cell: int, count: int) -> list[LineCollection]:
    """Hairlines between the weights, where these are large enough."""
    if cell < RULED_CELL:
        return []
    side, places = cell * count, [cell * place for place in range(1, count)]
    lines = [((0, at), (side, at)) for at in places] + [((at, 0), (at, side)) for at in places]
    rules = LineCollection(lines, colors=LINE, linewidths=0.5, zorder=2)
    axes.add_collection(rules, autolim=False)
    return [rules]


def _frame(axes: Axes, side: float) -> Rectangle:
    frame = _box(0, 0, side, side)
    axes.add_patch(frame)
    return frame


def _box(x: float, y: float, width: float, height: float) -> Rectangle:
    return Rectangle((x, y), width, height, facecolor="none", edgecolor=LINE, linewidth=1, zorder=3)


def _name_tokens(axes: Axes, labels: Sequence[str], masks: Sequence[int], cell: int, size: float) -> None:
    """The tokens down the left and along the bottom; the masks are bold."""
    side = cell * len(labels)
    for place, label in enumerate(labels):
        baseline = cell * (place + 0.5) + 0.36 * size
        weight = "bold" if place in masks else "normal"
        style: dict[str, Any] = {"size": size, "color": INK, "weight": weight, "ha": "right", "va": "baseline"}
        axes.text(-6, baseline, label, **style)
        axes.text(baseline, side + 6, label, **style, rotation=90, rotation_mode="anchor")


def _colour_bar(axes: Axes, x: float, height: float) -> None:
    """Which colour is which weight: from 0 at the bottom to 1."""
    _heat_map(axes, np.linspace(1, 0, 256)[:, np.newaxis], (x, x + BAR_WIDTH, height, 0))
    axes.add_patch(_box(x, 0, BAR_WIDTH, height))
    for tick in TICKS:
        y = height * (1 - tick)
        axes.plot([x + BAR_WIDTH, x + BAR_WIDTH + 3], [y, y], color=SOFT, linewidth=0.7)
        axes.text(x + BAR_WIDTH + 6, y, f"{tick:g}", size=SMALL, color=INK, va="center")
    axes.text(x + BAR_WIDTH + 34, height / 2, "attention probability", **_axis_style(), rotation=90, va="center")


def write_png(path: Path, pixels: Pixels, title: str, description: str) -> None:
    """Writes a picture as PNG, which says of itself what it shows. Raises OSError."""
    imsave(path, pixels, format="png", dpi=DPI, metadata=metadata_of(title, description))
