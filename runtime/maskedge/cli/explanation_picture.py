"""An explanation as a picture, PNG or SVG: the steps of a prediction down a rail."""

from pathlib import Path

from matplotlib.figure import Figure

from maskedge.cli.canvas import ACCENT, ACCENT_LIGHT, Canvas, Span
from maskedge.cli.drawing import INK, LINE, QUIET, WHITE, drawing, save_figure, shortened, width_of
from maskedge.explanation import ExplainedCandidate, ExplainedMask, ExplainedToken, Explanation
from maskedge.spelling import mask_spans, printable, visible

__all__ = ["draw_explanation", "save_picture"]

# Lengths in points.
TITLE_DROP = 26.0
"""From a step's title to what it shows."""
STEP_GAP = 30.0
BOX_HEIGHT, BOX_GAP, BOX_PADDING, BOX_ROW = 40.0, 6.0, 9.0, 64.0
ROW, BAR_HEIGHT, BAR_START, BAR_LENGTH = 25.0, 13.0, 112.0, 260.0
COLUMNS = {"probability": 66.0, "share": 118.0, "log-prob.": 178.0, "logit gap": 240.0}
"""Where the numbers end, from the end of the longest bar."""
TEXT, TOKEN, NUMBER, SMALL = 14.0, 11.5, 10.0, 8.0
PICTURE_DPI = 200


def save_picture(explanation: Explanation, path: Path) -> None:
    """Draws the explanation into a PNG or SVG file, by its name's ending. Raises OSError; ValueError for another."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"a picture's name ends in .png or .svg, not {path.name!r}")
    title, filled = f"How {explanation.model} fills a mask", f"{explanation.masked_text} → {explanation.filled_text}"
    with drawing():
        save_figure(draw_explanation(explanation), path, kind, title, filled, dpi=PICTURE_DPI)


def draw_explanation(explanation: Explanation) -> Figure:
    """The explanation as a figure. It needs no display."""
    canvas = Canvas()
    several = len(explanation.masks) > 1
    masked = explanation.masked_text
    _sentence(canvas, "Input sentence", explanation.text, mask_spans(explanation.text, explanation.mask_token))
    _sentence(canvas, "Masked sentence", masked, mask_spans(masked, explanation.mask_token))
    _tokens(canvas, explanation.tokens)
    for mask in explanation.masks:
        _distribution(canvas, f", position {mask.position}" if several else "", mask)
    for mask in explanation.masks:
        _word(canvas, f", position {mask.position}" if several else "", mask)
    _sentence(canvas, "Filled sentence", explanation.filled_text, [mask.filled_span for mask in explanation.masks])
    return canvas.finish(f"{explanation.model} · {explanation.precision}")


def _sentence(canvas: Canvas, title: str, text: str, spans: list[Span]) -> None:
    canvas.begin_step(title)
    canvas.y += TITLE_DROP
    canvas.paragraph(printable(text), spans, TEXT)
    canvas.y += STEP_GAP


def _tokens(canvas: Canvas, tokens: tuple[ExplainedToken, ...]) -> None:
    """A box for each token, with its id, over its position."""
    canvas.begin_step("Tokens, their ids and positions")
    canvas.y += TITLE_DROP
    x = 0.0
    for token in tokens:
        width = _box_width(canvas, token)
        if x and x + width > canvas.inner_width:
            x, canvas.y = 0.0, canvas.y + BOX_ROW
        _token(canvas, x, width, token)
        x += width + BOX_GAP
    canvas.y += BOX_ROW - 14 + STEP_GAP


def _box_width(canvas: Canvas, token: ExplainedToken) -> float:
    widest = max(width_of(_spelling(canvas, token), TOKEN, bold=token.masked), width_of(str(token.token), SMALL))
    return widest + 2 * BOX_PADDING


def _spelling(canvas: Canvas, token: ExplainedToken) -> str:
    return shortened(visible(token.token_str), TOKEN, canvas.inner_width - 2 * BOX_PADDING, bold=token.masked)


def _token(canvas: Canvas, x: float, width: float, token: ExplainedToken) -> None:
    fill, edge = (ACCENT, ACCENT) if token.masked else (WHITE, LINE)
    top = canvas.y - 12
    canvas.box(x, top, width, BOX_HEIGHT, fill=fill, edge=edge)
    middle = x + width / 2
    colours = (WHITE, ACCENT_LIGHT) if token.masked else (INK, QUIET)
    canvas.text(middle, top + 14, _spelling(canvas, token), TOKEN, colours[0], align="center", bold=token.masked)
    canvas.text(middle, top + 30, str(token.token), SMALL, colours[1], align="center")
    position = f"mask, {token.position}" if token.masked else str(token.position)
    canvas.text(middle, top + 49, position, SMALL, ACCENT if token.masked else QUIET, align="center")


def _distribution(canvas: Canvas, where: str, mask: ExplainedMask) -> None:
    """A bar for each candidate, longest for the best, with the numbers on the way from its logit."""
    canvas.begin_step(f"Logits to probabilities{where}")
    for heading, end in COLUMNS.items():
        canvas.text(BAR_START + BAR_LENGTH + end, canvas.y, heading, SMALL, QUIET, align="right")
    canvas.y += TITLE_DROP
    best = mask.candidates[0]
    for candidate in mask.candidates:
        _candidate(canvas, candidate, best)
    others = f"{mask.others:,} others"
    _row(canvas, others, QUIET, {"probability": f"{mask.others_probability:.2%}"}, bold=False)
    canvas.y += STEP_GAP - ROW / 2


def _candidate(canvas: Canvas, candidate: ExplainedCandidate, best: ExplainedCandidate) -> None:
    leads = candidate is best
    length = max(1.0, BAR_LENGTH * candidate.probability / best.probability)
    fill = ACCENT if leads else ACCENT_LIGHT
    canvas.box(BAR_START, canvas.y - BAR_HEIGHT / 2, length, BAR_HEIGHT, fill=fill, edge=fill, radius=2.0)
    numbers = {
        "probability": f"{candidate.probability:.2%}",
        "share": f"{candidate.share:.1%}",
        "log-prob.": f"{candidate.logprob:.3f}",
        "logit gap": f"{candidate.logit_gap:.3f}",
    }
    _row(canvas, visible(candidate.token_str), INK, numbers, bold=leads)


def _row(canvas: Canvas, label: str, colour: str, numbers: dict[str, str], *, bold: bool) -> None:
    label = shortened(label, TOKEN, BAR_START - 10, bold=bold)
    canvas.text(BAR_START - 10, canvas.y, label, TOKEN, colour, align="right", bold=bold)
    for heading, number in numbers.items():
        shade = colour if heading == "probability" else QUIET
        end, strong = BAR_START + BAR_LENGTH + COLUMNS[heading], bold and heading == "probability"
        canvas.text(end, canvas.y, number, NUMBER, shade, align="right", bold=strong)
    canvas.y += ROW


def _word(canvas: Canvas, where: str, mask: ExplainedMask) -> None:
    canvas.begin_step(f"Decoded word{where}")
    canvas.y += TITLE_DROP
    best = visible(mask.candidates[0].token_str)
    canvas.paragraph(best, [(0, len(best))], TEXT)
    if mask.word is not None:
        rank = f"rank {mask.word_rank:,}" if mask.word_rank else "no single token"
        x = width_of(best, TEXT, bold=True) + 18
        canvas.text(x, canvas.y, f"The masked word was {printable(mask.word)}: {rank}", NUMBER, QUIET)
    canvas.y += STEP_GAP
