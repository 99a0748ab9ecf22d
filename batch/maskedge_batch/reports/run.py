"""What every report says of the run that it is of."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ModelRun", "Run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """When, of what, and with which programs."""

    input: str
    """What the input is called."""
    versions: Mapping[str, str]
    """Of Python and of the packages that numbers depend on."""
    started: str
    """ISO 8601, UTC."""
    wall_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun(Run):
    """A run whose report says by itself which model it was; scored files say it of theirs."""

    model: str
    precision: str
    runtime: str
    """What ran the graph."""
    fingerprint: str
    """Of the bundle."""
