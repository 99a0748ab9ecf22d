"""Charts as inline SVG, coloured by the page's style sheet so that they follow its light and dark schemes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import altair as alt
import vl_convert
from markupsafe import escape

from maskedge_batch.reports.comparison import DifferenceBin
from maskedge_batch.reports.histogram import BINS_PER_DECADE, Bin
from maskedge_batch.reports.report import Calibration

__all__ = ["differences_svg", "has_rule", "histogram_svg", "reliability_svg"]

SIZES = {"wide": (680, 190), "narrow": (300, 190)}  # pixels; the page shows the one that fits, scaled to its column


def histogram_svg(bins: Sequence[Bin], perplexity: float) -> str:
    """Bars over a logarithmic axis of row perplexity, with a rule at the perplexity of all rows together, if it has
    one: see `has_rule`."""
    domain = [bins[0].low, _end(bins[-1])]
    if has_rule(perplexity, bins):
        domain = [min(domain[0], perplexity), max(domain[1], perplexity)]
    x = alt.X(
        "low:Q", title="row perplexity", scale=alt.Scale(type="log", domain=domain, nice=False), axis=_log_axis(*domain)
    )
    y = alt.Y("rows:Q", title="rows", axis=alt.Axis(tickCount=4, format="~s", tickMinStep=1))
    bars = _drawing([asdict(one) | {"high": _end(one)} for one in bins]).mark_bar(
        color="var(--accent)", stroke="var(--paper)", strokeWidth=1.5
    )
    rule = _drawing([{"low": perplexity}] if has_rule(perplexity, bins) else []).mark_rule(
        color="var(--ink)", strokeDash=[4, 3]
    )
    chart = bars.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0)) + rule.encode(x=x)
    most = max(bins, key=lambda one: one.rows)
    said = f"Histogram of row perplexities. The most rows, {most.rows}, lie between {most.low:.3g} and {most.high:.3g}."
    return _svg(chart, said)


def has_rule(perplexity: float, bins: Sequence[Bin]) -> bool:
    """Whether a perplexity has a place on the axis, whose last bin may have no end."""
    return math.isfinite(perplexity) and (math.isfinite(bins[-1].high) or perplexity <= bins[-1].low)


def reliability_svg(calibration: Calibration) -> str:
    """Accuracy over confidence, a point with its interval for each bin, beside the diagonal of a calibrated model."""
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], grid=True)
    x = alt.X("confidence:Q", title="probability of the best token", scale=share, axis=axis)
    y = alt.Y("accuracy:Q", title="how often it is right", scale=share, axis=axis)
    diagonal = _drawing([{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]).mark_line(
        color="var(--muted)", strokeDash=[4, 3], strokeWidth=1.5
    )
    values = [
        {
            "confidence": one.confidence,
            "accuracy": one.accuracy.value,
            "low": one.accuracy.low if one.accuracy.low is not None else one.accuracy.value,
            "high": one.accuracy.high if one.accuracy.high is not None else one.accuracy.value,
            "masks": one.masks,
        }
        for one in calibration.bins
    ]
    points = _drawing(values)
    size = alt.Size("masks:Q", scale=alt.Scale(range=[40, 400], zero=True), legend=None)
    chart = (
        diagonal.encode(x=x, y=y)
        + points.mark_rule(color="var(--accent)", strokeWidth=2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
        + points.mark_circle(color="var(--accent)", opacity=1).encode(x=x, y=y, size=size)
    )
    said = (
        f"Reliability diagram: accuracy over confidence in {len(values)} bins. "
        f"The expected calibration error is {calibration.error:.1%}."
    )
    return _svg(chart, said, {"square": (420, 320)})


def differences_svg(bins: Sequence[DifferenceBin], unit: str) -> str:
    """Bars of how many rows B knows better, on the left, and A, on the right, by how much."""
    values = [bins[0].low * share for share in (1, 0.5, 0, -0.5, -1)]
    # as an axis' format, ~g would be given a precision that makes -5e+1 of -50
    axis = alt.Axis(grid=False, labelExpr="format(datum.value, '~g')", values=values)
    x = alt.X("low:Q", title=f"nats per {unit}: B better on the left, A on the right", axis=axis)
    y = alt.Y("rows:Q", title="rows", axis=alt.Axis(tickCount=4, format="~s", tickMinStep=1))
    colour = alt.Color("better:N", scale=alt.Scale(domain=["A", "B"], range=["var(--a)", "var(--b)"]), legend=None)
    bars = _drawing([asdict(one) | {"better": "B" if one.high <= 0 else "A"} for one in bins]).mark_bar(
        stroke="var(--paper)", strokeWidth=1
    )
    rule = _drawing([{"low": 0}]).mark_rule(color="var(--ink)", strokeDash=[4, 3])
    chart = bars.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0), color=colour) + rule.encode(x=x)
    better = [sum(one.rows for one in bins if (one.high <= 0) is side) for side in (True, False)]
    said = f"Histogram of the rows' differences: {better[0]} rows on the side of B, {better[1]} on the side of A."
    return _svg(chart, said)


def _svg(chart: Any, said: str, sizes: Mapping[str, tuple[int, int]] = SIZES) -> str:
    """A chart as the text of SVG elements, one for each size, which are read out as `said`."""
    return "\n".join(_drawn(chart, said, name, size) for name, size in sizes.items())


def _drawn(chart: Any, said: str, name: str, size: tuple[int, int]) -> str:
    specification = _styled(chart, *size).to_dict()
    specification["config"]["aria"] = False  # each bar would be read out
    drawn: str = vl_convert.vegalite_to_svg(specification)
    opening = f'<svg role="img" aria-label="{escape(said)}"'
    return drawn.replace("<svg", opening, 1).replace('class="marks"', f'class="{name}"', 1)


def _drawing(values: list[dict[str, Any]]) -> alt.Chart:
    """A chart of values that stand in it."""
    return alt.Chart(alt.InlineData(values=values))


def _end(one: Bin) -> float:
    """Where a bin's bar ends: one without an end looks like the others."""
    return one.high if math.isfinite(one.high) else one.low * 10 ** (1 / BINS_PER_DECADE)


def _log_axis(low: float, high: float) -> alt.Axis:
    digits = (1, 2, 5) if high / low < 1000 else (1,)
    values = [digit * 10**power for power in range(16) for digit in digits]
    return alt.Axis(values=values, format="~s", grid=False)


def _styled(chart: Any, width: int, height: int) -> Any:
    return (
        chart.properties(width=width, height=height, background="transparent", padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="var(--muted)",
            titleColor="var(--muted)",
            gridColor="var(--line)",
            domainColor="var(--line)",
            tickColor="var(--line)",
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=10,
            labelFont="inherit",
            titleFont="inherit",
        )
        .configure_axisY(domain=False, ticks=False)
    )
