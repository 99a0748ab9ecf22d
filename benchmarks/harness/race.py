"""The contenders take turns: round after round, in an order that is drawn anew for each."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.contenders import Entry
from harness.journal import Journal, Measurement
from harness.processes import ContenderError, ContenderProcess, memory_free
from harness.workloads import Workload
from rich.console import Console

__all__ = ["COLD", "COLD_SHARE", "Race"]

MOST_ROUNDS = 9
"""That count."""
COLD = "cold"
"""The workload of a new process for each answer."""
COLD_SHARE = 0.15
"""Of a model's time, about."""
PATIENCE = 60.0
"""Seconds of a first cold start after which there is no second."""
LEAST_MEMORY = 5 * 2**30
"""Bytes that are free before a turn; others' processes are ended until they are. The most that one was seen to take for
an answer are 3.2 * 10^9, when Linux killed it (minicons, sentences to score in a BERT-base)."""


@dataclass
class Race:
    """The contenders of one model."""

    model: str
    entries: Sequence[Entry]
    journal: Journal
    console: Console
    least_rounds: int = 3
    """That count, however long they take."""
    processes: dict[str, ContenderProcess] = field(default_factory=dict)
    """Those that have loaded the model, by entry."""
    broken: dict[str, str] = field(default_factory=dict)
    """Why the others could not."""

    def run(self, workload: Workload, seconds: float) -> None:
        """The least number of rounds, and more as long as another one fits into the time."""
        takes_part = [entry for entry in self.entries if workload.kind in entry.workloads]
        if all(self.journal.has(self.model, workload.name, entry.name, self.least_rounds) for entry in takes_part):
            return
        started = time.monotonic()
        for number in range(MOST_ROUNDS + 1):
            before = time.monotonic()
            self.round(workload, takes_part, number)
            now = time.monotonic()
            self.say(f"{workload.name}: round {number} took {now - before:.0f} s")
            if number >= self.least_rounds and 2 * now - before - started > seconds:
                return

    def round(self, workload: Workload, entries: Sequence[Entry], number: int) -> None:
        """One turn of each."""
        for entry in self.shuffled(entries, workload.name, number):
            if not self.journal.has(self.model, workload.name, entry.name, number):
                self.turn(entry, workload, number)

    def turn(self, entry: Entry, workload: Workload, number: int) -> None:
        """One answer, or why there is none."""
        found: dict[str, Any] = {}
        failed = ""
        try:
            found = self.answer(entry, workload, number)
        except ContenderError as error:
            failed = str(error)
            self.say(f"{entry.name}: {failed}")
        self.journal.add(Measurement(self.model, entry.name, workload.name, number, found, failed))

    def answer(self, entry: Entry, workload: Workload, number: int) -> dict[str, Any]:
        """What the entry's process answers, and the most memory that it has had. Raises ContenderError."""
        is_new = entry.name not in self.processes
        process = self.opened(entry)
        texts = list(workload.texts)
        if is_new and number > 0:  # an earlier run's process warmed up, or one that was ended for its memory
            process.ask(workload.do, texts=texts)
        return {**process.ask(workload.do, texts=texts), "peak_bytes": process.peak_bytes()}

    def opened(self, entry: Entry) -> ContenderProcess:
        """The entry's process, started where it is not there. Raises ContenderError."""
        if entry.name in self.broken:
            raise ContenderError(self.broken[entry.name])
        process = self.processes.pop(entry.name, None)
        while self.processes and memory_free() < LEAST_MEMORY:
            self.processes.popitem()[1].close()  # it has just had its turn: the others' come sooner
        if process is None or process.process.poll() is not None:
            process = self.start(entry)
        self.processes[entry.name] = process
        return process

    def start(self, entry: Entry) -> ContenderProcess:
        """A process that has loaded the model. Raises ContenderError."""
        process = entry.start()
        try:
            entry.load(process)
        except ContenderError as error:
            self.broken[entry.name] = str(error)
            process.close()
            raise
        return process

    def run_cold(self, text: str) -> None:
        """Processes from their start to their first answer, in rounds too."""
        takes_part = [entry for entry in self.entries if COLD in entry.workloads]
        for number in range(self.least_rounds):
            for entry in self.shuffled(takes_part, COLD, number):
                if not self.journal.has(self.model, COLD, entry.name, number) and not self.slow(entry):
                    self.start_cold(entry, text, number)
            self.say(f"{COLD}: round {number} is done")

    def shuffled(self, entries: Sequence[Entry], workload: str, number: int) -> list[Entry]:
        """In the order of a round."""
        order = list(entries)
        random.Random(f"{self.model} {workload} {number}").shuffle(order)
        return order

    def slow(self, entry: Entry) -> bool:
        """Whether a cold start has taken so long that it is not repeated."""
        before = (each for each in self.journal.of(self.model, COLD) if each.entry == entry.name)
        return any(each.found.get("seconds", 0) > PATIENCE for each in before)

    def start_cold(self, entry: Entry, text: str, number: int) -> None:
        """One process from its start to its first answer."""
        process = entry.start()
        found, failed = {}, ""
        try:
            entry.load(process)
            process.ask("fill", texts=[text])
            found = {"seconds": time.perf_counter() - process.started}
        except ContenderError as error:
            failed = str(error)
        finally:
            process.close()
        self.journal.add(Measurement(self.model, entry.name, COLD, number, found, failed))

    def close(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.close()

    def say(self, line: str) -> None:
        """A line for who watches."""
        self.console.print(f"{self.model}, {line}", highlight=False, soft_wrap=True)
