"""What all pictures share: their colours, their letters, and how wide a text comes out."""

import warnings
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from maskedge.spelling import printable

__all__ = ["DPI", "INK", "LINE", "QUIET", "WHITE", "drawing", "metadata_of", "save_figure", "shortened", "width_of"]

INK, QUIET, LINE, WHITE = "#1f2937", "#7c8698", "#d5dbe5", "#ffffff"

DPI = 144
"""Two pixels a point: lengths of whole points have sharp edges."""
FONTS = ("Inter", "Helvetica Neue", "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans Arabic", "Noto Sans Devanagari")
"""The first installed one sets the text, and the next ones lend the characters it lacks; matplotlib brings DejaVu."""
ENLARGED = 16


@contextmanager
def drawing() -> Iterator[None]:
    """How pictures are drawn and saved. Text stays text in an SVG, to be searched and read aloud; equal pictures give
    equal bytes."""
    installed = set(font_manager.get_font_names())
    families = [name for name in FONTS if name in installed]
    style: dict[Any, Any] = {
        "font.family": families,
        "svg.fonttype": "none",
        "svg.hashsalt": "maskedge",
        "text.parse_math": False,
    }
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # no installed font has it: it is drawn as a box
        yield


def save_figure(figure: Figure, path: Path, kind: str, title: str, description: str, *, dpi: int = DPI) -> None:
    """Writes a figure that was drawn within `drawing`, as `kind`: `png` or `svg`. Raises OSError."""
    dateless: dict[str, None] = {"Date": None} if kind == "svg" else {}
    figure.savefig(path, format=kind, dpi=dpi, metadata={**metadata_of(title, description), **dateless})


def metadata_of(title: str, description: str) -> dict[str, str]:
    """What a picture's file says of itself."""
    return {"Title": title, "Description": printable(description)}


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text comes out, points. Measured large, where letters are not moved to whole pixels."""
    font = FontProperties(size=size * ENLARGED, weight="bold" if bold else "normal")
    extent = _renderer().get_text_width_height_descent(text, font, ismath=False)  # type: ignore[no-untyped-call]
    return float(extent[0]) / ENLARGED


@cache
def _renderer() -> RendererAgg:
    canvas = FigureCanvasAgg(Figure(dpi=72))  # 72 dots an inch: a pixel is a point
    return canvas.get_renderer()  # type: ignore[no-untyped-call, no-any-return]


def shortened(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """The text, or as much of its beginning as the room holds."""
    if width_of(text, size, bold=bold) <= room:
        return text
    fits = bisect_right(range(len(text)), room, key=lambda length: width_of(f"{text[:length]}…", size, bold=bold))
    return f"{text[: max(0, fits - 1)]}…"
