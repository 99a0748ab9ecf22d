"""Attention as one page to explore in a browser: it needs no other file and no network."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from maskedge.arrays import Float32Array
from maskedge.cli.attention_colours import DARK, LIGHT, as_hex
from maskedge.cli.attention_view import AttentionView
from maskedge.plain_json import script_json
from maskedge.spelling import abridged, mask_spans, visible

__all__ = ["attention_page", "pack"]

TITLE_CHARS = 70
MOST = 4095
"""A weight of 1: weights are kept as whole numbers of 12 bits, 0.012 percentage points from what they are at most."""


def attention_page(view: AttentionView) -> str:
    """The page of a view."""
    script, text = _template("attention.js"), abridged(view.text, view.mask_token)
    return Template(_template("attention.html")).substitute(
        title=escape(f"Attention: {text if len(text) <= TITLE_CHARS else text[:TITLE_CHARS] + '…'}"),
        hash=b64encode(sha256(script.encode()).digest()).decode(),
        style=_template("attention.css"),
        text=_marked(text, view.mask_token),
        size="long" if len(text) > TITLE_CHARS else "short",
        facts=escape(_facts(view)),
        notes="\n".join(f'<p class="notice">{escape(note)}</p>' for note in view.notes),
        view=script_json(_values(view)),
        weights=b64encode(pack(view.weights)).decode(),
        script=script,
    )


def pack(weights: Float32Array) -> bytes:
    """Weights of any shape, two in three bytes."""
    numbers = np.round(weights.ravel().astype(np.float64) * MOST).astype(np.uint16)
    first, second = np.pad(numbers, (0, len(numbers) % 2)).reshape(-1, 2).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()


def _template(name: str) -> str:
    return (files("maskedge.cli") / "templates" / name).read_text(encoding="utf-8")


def _marked(text: str, mask_token: str) -> str:
    """The text as HTML, its masks set off."""
    parts, end = [], 0
    for start, stop in mask_spans(text, mask_token):
        parts += [escape(text[end:start]), f"<mark>{escape(text[start:stop])}</mark>"]
        end = stop
    return "".join([*parts, escape(text[end:])])


def _facts(view: AttentionView) -> str:
    numbers = ((view.layers, "layer"), (view.heads, "head"), (view.tokens, "token"))
    return " · ".join([view.model, *(f"{len(each)} {noun}{'s' * (len(each) != 1)}" for each, noun in numbers)])


def _values(view: AttentionView) -> dict[str, object]:
    """What the script reads, apart from the weights."""
    return {
        "tokens": [visible(token) for token in view.tokens],
        "masks": view.masks,
        "layers": view.layers,
        "heads": view.heads,
        "first": view.first,
        "total": view.total,
        "light": as_hex(LIGHT),
        "dark": as_hex(DARK),
    }
