"""Numbers and texts as a reader sees them, in every form of a report."""

import math
import re
import unicodedata
from collections.abc import Mapping

from markupsafe import Markup, escape

from maskedge_batch.reports.bootstrap import Estimate
from maskedge_batch.reports.examples import MASK

__all__ = [
    "NOTHING",
    "between",
    "listed",
    "markdown_text",
    "marked",
    "number",
    "percent",
    "ratio_between",
    "ratio_text",
    "shown",
    "significant",
]

NOTHING = "\N{EN DASH}"
"""Stands for a number that there is none of."""
_BIDI = frozenset("\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}") | {
    chr(code) for first, last in ((0x202A, 0x202E), (0x2066, 0x2069)) for code in range(first, last + 1)
}
"""Characters that turn the direction of what follows; shown as such they could reorder a report's own words."""


def number(value: int | None) -> str:
    """A count."""
    return NOTHING if value is None else f"{value:,}"


def significant(value: float | None) -> str:
    """Four significant digits, and no exponent as long as a reader can do without."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


def listed(values: Mapping[str, str]) -> str:
    """Names with their values, in a line."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def percent(share: float | None) -> str:
    """A share of one."""
    return NOTHING if share is None else f"{share:.1%}"


def between(estimate: Estimate | None, *, share: bool = False) -> str:
    """The interval, such as "93.76 to 166.2"."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return NOTHING
    write = percent if share else significant
    return f"{write(estimate.low)} to {write(estimate.high)}"


def ratio_text(estimate: Estimate) -> str:
    """A ratio with as many decimals as its interval leaves certain, and two at least: "0.39", "1.0007". A tiny one is
    "3.4e-05"."""
    return _ratio(estimate.value, estimate)


def ratio_between(estimate: Estimate) -> str:
    """Its interval, with as many: "0.35 to 0.43"."""
    if estimate.low is None or estimate.high is None:
        return NOTHING
    return f"{_ratio(estimate.low, estimate)} to {_ratio(estimate.high, estimate)}"


def _ratio(value: float, estimate: Estimate) -> str:
    if 0 < value < 0.001:
        return f"{value:.2g}"
    width = (estimate.high or 0) - (estimate.low or 0)
    if not math.isfinite(value) or value >= 1000 or not 0 < width < math.inf:
        return significant(value)
    return f"{value:,.{min(max(2, 1 - math.floor(math.log10(width))), 6)}f}"


def shown(text: str) -> str:
    """A text whose control characters, those of direction among them, are spelled out: ⟨U+202E⟩."""
    return "".join(f"⟨U+{ord(each):04X}⟩" if _is_control(each) else each for each in text)


def _is_control(character: str) -> bool:
    return character in _BIDI or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r")


def marked(text: str) -> Markup:
    """The text, escaped, with its masks marked."""
    return Markup("<mark>mask</mark>").join(escape(shown(part)) for part in MASK.split(text))


def markdown_text(text: str) -> str:
    """Text that stays text in a Markdown table."""
    plain = " ".join(shown(text).split())
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", plain).replace("\\<", "&lt;")
