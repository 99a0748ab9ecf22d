"""Where a job's time goes: the seconds of its stages, by the thread that spent them."""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

__all__ = ["Profile", "Spent", "Stage"]

Item = TypeVar("Item")


class Stage(StrEnum):
    """What a thread was doing."""

    READ = "read"
    """Reading and decoding the input."""
    PREPARE = "prepare"
    """Text to tokens, targets to tokens."""
    INFERENCE = "inference"
    """The model's graph."""
    CONVERT = "convert"
    """Tokens to batches, and what the model said to columns; waiting for the graph is part of its seconds."""
    WRITE = "write"
    """Encoding, compressing and writing the output."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Time that one stage took, in one thread or in all."""

    seconds: float = 0.0
    """From its beginnings to its ends, added up."""
    cpu_seconds: float = 0.0
    """Of them those that the thread ran on a CPU, neither waiting nor pushed aside."""

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


class Profile:
    """Gathers the time of stages. Any number of threads may do so at once."""

    def __init__(self) -> None:
        self._began = math.inf
        self._ended = -math.inf
        self._spent: defaultdict[tuple[str, Stage], Spent] = defaultdict(Spent)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Counts the time of the block for a stage and the thread that runs it."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            ended = time.perf_counter()
            spent = Spent(ended - wall, time.thread_time() - cpu)
            with self._lock:
                self._began, self._ended = min(self._began, wall), max(self._ended, ended)
                self._spent[threading.current_thread().name, stage] += spent

    def each(self, stage: Stage, items: Iterator[Item]) -> Iterator[Item]:
        """The items, with the time that each takes to come counted for a stage."""
        while True:
            with self.measure(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    @property
    def wall_seconds(self) -> float:
        """Seconds from the beginning of the first stage to the end of the last."""
        return max(0.0, self._ended - self._began)

    def stages(self) -> dict[Stage, Spent]:
        """The time of each stage, of all threads together."""
        with self._lock:
            spent = dict(self._spent)
        return {stage: sum((each for (_, own), each in spent.items() if own is stage), Spent()) for stage in Stage}

    def threads(self) -> dict[str, float]:
        """The CPU seconds that each thread spent in stages."""
        busy: defaultdict[str, float] = defaultdict(float)
        with self._lock:
            for (thread, _), spent in self._spent.items():
                busy[thread] += spent.cpu_seconds
        return dict(sorted(busy.items()))
