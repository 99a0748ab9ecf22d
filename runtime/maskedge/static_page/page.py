"""The page itself: its program, its looks and its policy in one HTML file."""

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from maskedge.plain_json import script_json

__all__ = ["make_page", "readable_size"]

EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?\s*(?://# sourceMappingURL=\S+\s*)?\Z")
"""The last statement of a module as bundlers write it."""


def make_page(
    *,
    name: str,
    precision: str,
    card: str,
    facts: Mapping[str, Any],
    libraries: Mapping[str, str],
    software: str,
    licenses: str,
    inside: Mapping[str, bytes],
    size: int,
) -> str:
    """The HTML of a page.

    Args:
        name: The model's name.
        precision: The name of the graph that is run.
        card: The model's card.
        facts: What the script has to know.
        libraries: JavaScript modules, by the names that the script calls them.
        software: What the page runs beside its own script, in a sentence.
        licenses: The licenses of that.
        inside: Packed files that stand within the page; what is missing there is read from beside it.
        size: How many bytes are read before the first answer.
    """
    script = "\n".join([*(_as_value(*library) for library in libraries.items()), *_scripts()])
    style = _template("page.css")
    return Template(_template("page.html")).substitute(
        name=escape(name),
        precision=escape(precision),
        card=escape(card),
        software=escape(software),
        licenses=escape(licenses),
        mask_token=escape(str(facts["mask_token"])),
        size=readable_size(size),
        connect="'none'" if inside else "'self'",
        page=script_json({**facts, "beside": not inside}),
        parts="\n".join(_data_block(*part) for part in inside.items()),
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
    )


def readable_size(size: int) -> str:
    """Bytes as a reader counts them: `23 MB`."""
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"


def _scripts() -> list[str]:
    return [_template(name) for name in ("words.js", "model.js", "page.js")]


def _as_value(name: str, module: str) -> str:
    """A module as an expression of a script, which needs no address to be imported from.

    Raises ValueError where it does not end with its exports.
    """
    exports = EXPORTS.search(module)
    if exports is None:
        raise ValueError(f"the module {name} does not end with its exports")
    pairs = (re.split(r"\s+as\s+", entry.strip()) for entry in exports[1].split(",") if entry.strip())
    fields = ", ".join(
        f"{json_name}: {local[0]}" for *local, json_name in (pair if len(pair) > 1 else pair * 2 for pair in pairs)
    )
    return f"const {name} = (() => {{\n{module[: exports.start()]}\nreturn {{ {fields} }};\n}})();"


def _data_block(name: str, packed: bytes) -> str:
    return f'<script type="text/plain" id="part-{name}">{b64encode(packed).decode()}</script>'


def _template(name: str) -> str:
    return (files("maskedge.static_page") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
