"""What a job is: all that its output's bytes depend on, each part by its name."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Fingerprint"]


@dataclass(frozen=True)
class Fingerprint:
    """Tells jobs apart, and says in what they differ."""

    parts: Mapping[str, str | int | None]
    """What each part is called towards a user, and what it is: `--top-k`: 5, `pyarrow`: 26.0.1."""

    @property
    def digest(self) -> str:
        """SHA-256 over all parts."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()

    def differences(self, now: "Fingerprint") -> tuple[str, ...]:
        """What is not as it was, a phrase for each part: `--top-k was 5 and is 7`."""
        names = [*self.parts, *(name for name in now.parts if name not in self.parts)]
        return tuple(_difference(name, self, now) for name in names if _said(name, self) != _said(name, now))


def _said(name: str, one: Fingerprint) -> str:
    return json.dumps(one.parts[name]) if name in one.parts else ""


def _difference(name: str, was: Fingerprint, now: Fingerprint) -> str:
    if name not in now.parts:
        return f"{name} is gone"
    if name not in was.parts:
        return f"{name} is new"
    return f"{name} was {_value(was.parts[name])} and is {_value(now.parts[name])}"


def _value(value: str | int | None) -> str:
    return "not given" if value is None else str(value)
