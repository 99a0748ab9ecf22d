"""OpenVINO, imported without its telemetry."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["openvino", "operators"]


@contextmanager
def _untold() -> Iterator[None]:
    """OpenVINO's import tells Google Analytics of itself and numbers the user's machine, unless its package for that
    is missing: it is while the block runs."""
    if "openvino" in sys.modules or "openvino_telemetry" in sys.modules:  # told already, by others
        yield
        return
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # how Python marks what cannot be imported
    try:
        yield
    finally:
        del sys.modules["openvino_telemetry"]


with _untold():
    import openvino
    from openvino import opset13 as operators
