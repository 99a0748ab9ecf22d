"""How long something takes, and how much memory this process took."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["median_seconds", "most_resident", "seconds_of"]


def median_seconds(act: Callable[[], object], rounds: int) -> float:
    """What it takes in the median round; one round first, which does not count."""
    return statistics.median([seconds_of(act) for _ in range(rounds + 1)][1:])


def seconds_of(act: Callable[[], object]) -> float:
    """What it takes once."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def most_resident() -> int:
    """The most memory that this process had, bytes. What getrusage tells begins with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
