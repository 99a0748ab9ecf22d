"""The report on heads as a page."""

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

from maskedge_batch.heads.examples import Example
from maskedge_batch.heads.relations import RelationResult
from maskedge_batch.heads.report import HeadsReport, best_heads
from maskedge_batch.reports.rendering import REASONS, TEMPLATES

__all__ = ["heads_html", "sentence_about"]

LINKS = {
    "acl": ("clauses", "the noun they modify"),
    "advcl": ("adverbial clauses", "their verb"),
    "advmod": ("adverbs", "what they modify"),
    "amod": ("adjectives", "their nouns"),
    "aux": ("auxiliaries", "their verb"),
    "case": ("prepositions", "their noun"),
    "cc": ("conjunctions", "what they join"),
    "compound": ("parts of compounds", "their noun"),
    "conj": ("joined words", "the first of them"),
    "cop": ("copulas", "their predicate"),
    "det": ("determiners", "their noun"),
    "mark": ("markers", "their clause"),
    "nmod": ("nominal modifiers", "their noun"),
    "nmod:poss": ("possessives", "their noun"),
    "nsubj": ("subjects", "their verb"),
    "nsubj:pass": ("passive subjects", "their verb"),
    "nummod": ("numbers", "their noun"),
    "obj": ("objects", "their verb"),
    "obl": ("oblique nominals", "their verb"),
    "punct": ("punctuation marks", "their clause"),
    "xcomp": ("open complements", "their verb"),
}
"""Dependents and their head, in words."""

TITLES = {
    "previous": "previous token",
    "next": "next token",
    "self": "the token itself",
    "same": "same token elsewhere",
    "first": "first token",
    "separator": "separator",
    "punctuation": "punctuation",
    "distance": "mean distance, tokens",
    "entropy": "entropy, nats",
    "confidence": "confidence",
}
IN_UNITS = ("distance", "entropy")
"""Roles that are no shares."""
SHOWN = 16
"""Heads that stand out and are shown with their sentences."""


def heads_html(report: HeadsReport) -> str:
    """One page that needs no other file and no network."""
    analysis = report.analysis
    relations = zip(analysis.relations, analysis.examples, strict=True)
    better = [(result, examples) for result, examples in relations if result.gain_interval[0] > 0]
    better.sort(key=lambda pair: -pair[0].gain)
    best = best_heads(analysis) if analysis.sentences else {}
    values = {
        "report": report,
        "analysis": analysis,
        "better": len(better),
        "standing_out": [
            (sentence_about(result), [_marked(one) for one in examples]) for result, examples in better[:SHOWN]
        ],
        "roles": [
            (_caption(role, best[role], analysis.uniform[role]), _map(analysis.roles[role], role)) for role in best
        ],
        "reasons": REASONS,
        "clusters": list(_rows(analysis.clusters, analysis.heads)),
    }
    return TEMPLATES.get_template("heads.html").render(values)


def sentence_about(result: RelationResult) -> str:
    """What a head does, in a sentence."""
    dependents, head = LINKS.get(result.relation, (f"words in the relation {result.relation}", "their head"))
    does = f"links {dependents} to {head}"
    if result.direction == "to dependent":
        does = f"finds {dependents} from {head.replace('their', 'the')}"
    side = "right" if result.offset > 0 else "left"
    words = "one word" if abs(result.offset) == 1 else f"{abs(result.offset)} words"
    return (
        f"Layer {result.layer}, head {result.head} {does} in {result.accuracy:.0%} of cases; looking {words} to the "
        f"{side} gives {result.baseline:.0%}."
    )


def _caption(role: str, best: tuple[int, int, float], uniform: float) -> str:
    layer, head, _ = best
    return f"{TITLES[role]}: most in {layer}-{head}; looking at all alike gives {_shown(role, uniform)}"


def _shown(role: str, value: float) -> str:
    return f"{value:.1f}" if role in IN_UNITS else f"{value:.0%}"


def _map(values: Any, role: str) -> list[list[tuple[str, float]]]:
    """Each head's value as it is shown, and its place between 0 and the greatest."""
    greatest = float(values.max()) or 1.0
    return [[(_shown(role, value).removesuffix("%"), value / greatest) for value in row] for row in values.tolist()]


def _rows(items: list[int], length: int) -> Iterator[list[int]]:
    for start in range(0, len(items), length):
        yield items[start : start + length]


def _marked(example: Example) -> tuple[Markup, float]:
    """The sentence, escaped, with the word that looks underlined and the one that it looks at marked."""
    tags = {example.query: "u", example.key: "mark"}
    shown, end = Markup(), 0
    for start, stop in sorted(tags):
        tag = tags[start, stop]
        shown += escape(example.text[end:start]) + Markup("<{0}>{1}</{0}>").format(tag, example.text[start:stop])
        end = stop
    return shown + escape(example.text[end:]), example.weight
