"""Filled and scored texts as tables for a terminal."""

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from maskedge.cli.tables import QUIET, bar, entropy, labelled, plain_table, sentence
from maskedge.inference.metrics import perplexity
from maskedge.results import Fill, MaskFill, SentenceScore
from maskedge.spelling import visible

__all__ = ["fill_table", "score_table", "scores_table"]


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
    """One text's tokens with their probabilities, and the text's metrics."""
    table = plain_table("token", ">id", "", ">probability", ">log-probability")
    for token in score.tokens:
        probability = math.exp(token.logprob)
        row = (bar(probability), f"{probability:.2%}", f"{token.logprob:.3f}")
        table.add_row(visible(token.token_str), Text(str(token.token), style=QUIET), *row)
    return Group(sentence(score.text, ""), "", table, "", labelled(_score_metrics(score)))


def _score_metrics(score: SentenceScore) -> Iterator[tuple[str, str]]:
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
        metrics = (f"{score.token_count:,}", f"{score.pll:,.2f}", f"{score.pseudo_perplexity:,.2f}")
        table.add_row(sentence(score.text, ""), *metrics)
    pll, tokens = math.fsum(score.pll for score in scores), sum(score.token_count for score in scores)
    if len(scores) > 1:
        table.add_section()
        metrics = (f"{tokens:,}", f"{pll:,.2f}", f"{perplexity(pll, tokens):,.2f}")
        table.add_row(Text("all together", style="bold"), *metrics)
    return table
