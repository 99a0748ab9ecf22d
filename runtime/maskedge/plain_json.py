"""JSON that every reader takes: it has no word for infinities and NaN, which Python writes all the same."""

import json
import math
from typing import Any

__all__ = ["plain_json"]


def plain_json(value: Any, **options: Any) -> str:
    """The value as JSON text, with null for what is no finite number. `options` are those of `json.dumps`."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
