"""Results as tables for a terminal. Nothing is printed here."""

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from maskedge.cli.spelling import abridged, mask_spans, visible
from maskedge.inference.metrics import perplexity
from maskedge.results import Fill, MaskFill, SentenceScore

__all__ = [
    "ACCENT",
    "QUIET",
    "bar",
    "entropy",
    "fill_table",
    "labelled",
    "plain_table",
    "score_table",
    "scores_table",
    "sentence",
]

ACCENT, QUIET = "cyan", "bright_black"
BAR_WIDTH = 30
"""Columns of a probability of 1."""


def fill_table(fill: Fill, mask_token: str) -> RenderableType:
    """The text, and for each of its masks the candidates with their probabilities."""
    parts: list[RenderableType] = [sentence(fill.text, mask_token)]
    for number, mask in enumerate(fill.masks, start=1):
        parts += ["", *([Text(f"mask {number}", style="bold")] if len(fill.masks) > 1 else []), _candidates(mask)]
        parts.append(entropy(mask.entropy))
    if fill.truncated:
        parts.append(Text(f"The text is longer than the model reads: {fill.token_count} tokens around its masks."))
    return Group(*parts)


def _candidates(mask: MaskFill) -> Table:
    table = plain_table("", "token", ">id", "", ">probability")
    for rank, prediction in enumerate(mask.predictions, start=1):
        table.add_row(
            Text(str(rank), style=QUIET),
            Text(visible(prediction.token_str), style="bold" if rank == 1 else ""),
            Text(str(prediction.token), style=QUIET),
            bar(prediction.score),
            f"{prediction.score:.2%}",
        )
    return table


def score_table(score: SentenceScore) -> RenderableType:
    """One text's tokens with their probabilities, and the text's figures."""
    table = plain_table("token", ">id", "", ">probability", ">log-probability")
    for token in score.tokens:
        probability = math.exp(token.logprob)
        row = (bar(probability), f"{probability:.2%}", f"{token.logprob:.3f}")
        table.add_row(visible(token.token_str), Text(str(token.token), style=QUIET), *row)
    return Group(sentence(score.text, ""), "", table, "", labelled(_score_figures(score)))


def _score_figures(score: SentenceScore) -> Iterator[tuple[str, str]]:
    counts = f"{_count(score.token_count, 'token')}, {_count(score.word_count, 'word')}"
    yield "pseudo-log-likelihood", f"{score.pll:,.3f} nats over {counts}, {score.method}"
    yield (
        "pseudo-perplexity",
        (f"{score.pseudo_perplexity:,.2f} per token, {score.pseudo_perplexity_per_word:,.2f} per word"),
    )
    yield "bits per character", f"{score.bits_per_character:.3f}"
    if score.context is not None:
        yield "read in", f"{score.windows:,} windows, {score.context:,} tokens or more around each"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def scores_table(scores: Sequence[SentenceScore]) -> RenderableType:
    """Several texts, a line each, and the pseudo-perplexity over all of their tokens together."""
    table = plain_table("text", ">tokens", ">PLL, nats", ">pseudo-perplexity")
    for score in scores:
        figures = (f"{score.token_count:,}", f"{score.pll:,.2f}", f"{score.pseudo_perplexity:,.2f}")
        table.add_row(sentence(score.text, ""), *figures)
    pll, tokens = math.fsum(score.pll for score in scores), sum(score.token_count for score in scores)
    if len(scores) > 1:
        table.add_section()
        figures = (f"{tokens:,}", f"{pll:,.2f}", f"{perplexity(pll, tokens):,.2f}")
        table.add_row(Text("all together", style="bold"), *figures)
    return table


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
