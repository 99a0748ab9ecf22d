"""An explanation as a table of steps, for a terminal."""

import math
from collections.abc import Iterator

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from maskedge.cli.tables import ACCENT, QUIET, bar, entropy, plain_table, sentence
from maskedge.explanation import ExplainedMask, ExplainedToken, Explanation
from maskedge.results import Influence
from maskedge.spelling import visible

__all__ = ["explanation_table"]

SHORT_BAR = 12
"""Columns of a probability of 1 beside so many figures: the table fits a terminal of 80."""


WORDS = 10
"""Words whose influence is shown."""


def explanation_table(explanation: Explanation) -> RenderableType:
    """Each step of the prediction under its name, in order."""
    parts: list[RenderableType] = []
    for number, (step, shown) in enumerate(_steps(explanation), start=1):
        parts += [
            Text.assemble((f"{number}", QUIET), ("  " + step, "bold")),
            Padding(shown, (0, 0, 1, 3), expand=False),
        ]
    return Group(*parts)


def _steps(explanation: Explanation) -> Iterator[tuple[str, RenderableType]]:
    length = len(explanation.tokens)
    positions = ", ".join(str(mask.position) for mask in explanation.masks)
    yield "input sentence", sentence(explanation.text, explanation.mask_token)
    yield "masked sentence", sentence(explanation.masked_text, explanation.mask_token)
    yield "tokens and ids", Columns([_token(token) for token in explanation.tokens], padding=(0, 2, 1, 0))
    yield f"mask position{'s' * (len(explanation.masks) > 1)}", f"{positions}, of 0 to {length - 1}"
    for mask in explanation.masks:
        yield _at("logits to probabilities", mask, explanation), _distribution(mask)
    for mask in explanation.masks:
        yield _at("decoded word", mask, explanation), _word(mask)
    for influence, mask in zip(explanation.influences, explanation.masks, strict=False):
        yield _at("words that matter", mask, explanation), _influence(influence)
    yield "filled sentence", sentence(explanation.filled_text, explanation.mask_token)


def _at(step: str, mask: ExplainedMask, explanation: Explanation) -> str:
    return f"{step}, position {mask.position}" if len(explanation.masks) > 1 else step


def _token(token: ExplainedToken) -> Text:
    spelling = Text(visible(token.token_str), style=f"bold {ACCENT}" if token.masked else "")
    return Text("\n").join([spelling, Text(str(token.token), style=QUIET)])


def _distribution(mask: ExplainedMask) -> RenderableType:
    table = plain_table("token", ">id", ">logit gap", ">log-prob.", ">prob.", ">share", " ")
    for candidate in mask.candidates:
        table.add_row(
            visible(candidate.token_str),
            Text(str(candidate.token), style=QUIET),
            f"{candidate.logit_gap:.3f}",
            f"{candidate.logprob:.3f}",
            f"{candidate.probability:.4f}",
            f"{candidate.share:.1%}",
            bar(candidate.probability, SHORT_BAR),
        )
    rest = (f"{mask.others_probability:.4f}", "", bar(mask.others_probability, SHORT_BAR))
    table.add_row(f"{mask.others:,} others", "", "", "", *rest, style=QUIET)
    return Group(table, entropy(mask.entropy))


def _influence(influence: Influence) -> RenderableType:
    """The words that matter most, for and against the best candidate."""
    table = plain_table("without", ">prob.", ">nats", " ")
    most = max((abs(word.change) for word in influence.words), default=0)
    for word in sorted(influence.words, key=lambda word: -abs(word.change))[:WORDS]:
        share = abs(word.change) / most if most else 0
        table.add_row(visible(word.word), f"{math.exp(word.logprob):.4f}", f"{word.change:+.3f}", bar(share, SHORT_BAR))
    said = f"{visible(influence.token_str)} has {math.exp(influence.logprob):.4f} with all of them"
    return Group(table, Text(said, style=QUIET))


def _word(mask: ExplainedMask) -> Text:
    best = mask.candidates[0]
    decoded = Text.assemble((visible(best.token_str), f"bold {ACCENT}"), f"  {best.probability:.2%}")
    return decoded.append(_masked_word(mask), style=QUIET) if mask.word else decoded


def _masked_word(mask: ExplainedMask) -> str:
    if mask.word_logprob is None:
        return f"   the masked word, {mask.word}, is no single token"
    return f"   the masked word, {mask.word}: rank {mask.word_rank:,}, {math.exp(mask.word_logprob):.2%}"
