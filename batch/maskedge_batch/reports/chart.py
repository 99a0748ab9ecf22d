"""Charts as inline SVG, coloured by the page's style sheet so that they follow its light and dark schemes."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt
import vl_convert

from maskedge_batch.reports.report import Bin
from maskedge_batch.reports.statistics import BINS_PER_DECADE

__all__ = ["has_rule", "histogram_svg"]

WIDTH, HEIGHT = 680, 190  # pixels; the page scales the drawing to its column


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
    svg: str = vl_convert.vegalite_to_svg(_styled(chart).to_dict())
    return svg


def has_rule(perplexity: float, bins: Sequence[Bin]) -> bool:
    """Whether a perplexity has a place on the axis, whose last bin may have no end."""
    return math.isfinite(bins[-1].high) or perplexity <= bins[-1].low


def _end(one: Bin) -> float:
    """Where a bin's bar ends: one without an end looks like the others."""
    return one.high if math.isfinite(one.high) else one.low * 10 ** (1 / BINS_PER_DECADE)


def _drawing(values: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=values))


def _log_axis(low: float, high: float) -> alt.Axis:
    digits = (1, 2, 5) if high / low < 1000 else (1,)
    values = [digit * 10**power for power in range(16) for digit in digits]
    return alt.Axis(values=values, format="~s", grid=False)


def _styled(chart: Any) -> Any:
    return (
        chart.properties(width=WIDTH, height=HEIGHT, background="transparent", padding=2)
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
