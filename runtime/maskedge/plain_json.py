"""JSON that every reader takes: it has no word for infinities and NaN, which Python writes all the same."""

import json
import math
from typing import Any

__all__ = ["plain_json", "script_json"]


def plain_json(value: Any, **options: Any) -> str:
    """The value as JSON text, with null for what is no finite number. `options` are those of `json.dumps`."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def script_json(value: Any) -> str:
    """The value as JSON that may stand in a script element of a page, which no text in it can end."""
    text = plain_json(value)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
