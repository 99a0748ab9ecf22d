"""Programs whose memory is watched while they run, and that something may happen to on the way."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Incident", "Process", "Run", "own_processes", "resident_megabytes", "succeed", "watch"]

SECONDS = 0.5
"""Between two looks at the memory."""
PROC = Path("/proc")

Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens to a run."""

    after: float
    """Seconds."""
    act: Callable[[Process], object]


@dataclass(slots=True)
class Run:
    """A program that was watched."""

    seconds: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since its start, resident megabytes."""
    returncode: int = 0

    @property
    def peak(self) -> float:
        """Most megabytes that were seen."""
        return max((megabytes for _, megabytes in self.memory), default=0.0)


def watch(
    arguments: list[str],
    incident: Incident | None = None,
    environment: Mapping[str, str] | None = None,
    processes: Callable[[Process], Iterable[int]] = lambda process: [process.pid],
) -> Run:
    """Runs a program to its end, whichever that is.

    Args:
        arguments: Its command line.
        incident: What happens to it on the way, unless it ends before.
        environment: Its variables; this process's where None.
        processes: Whose memory is added up.
    """
    run, start = Run(), time.monotonic()
    variables = None if environment is None else dict(environment)
    process = subprocess.Popen(arguments, env=variables, stdout=subprocess.DEVNULL)
    watcher = threading.Thread(target=lambda: run.memory.extend(_memory(process, start, processes)))
    watcher.start()
    if incident:
        try:
            process.wait(incident.after)
        except subprocess.TimeoutExpired:
            incident.act(process)
    run.returncode = process.wait()
    watcher.join()
    run.seconds = time.monotonic() - start
    return run


def own_processes(name: bytes) -> Iterator[int]:
    """The processes whose command line begins so."""
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(name):
                yield int(path.parent.name)
        except OSError:  # it has ended meanwhile
            continue


def succeed(run: Run) -> Run:
    """The run, or the end of this program."""
    if run.returncode:
        sys.exit(f"a run ended with {run.returncode}")
    return run


def _memory(
    process: Process, start: float, processes: Callable[[Process], Iterable[int]]
) -> Iterator[tuple[float, float]]:
    """Yields seconds and megabytes until the process ends."""
    while process.poll() is None:
        if megabytes := sum(map(resident_megabytes, processes(process))):
            yield time.monotonic() - start, megabytes
        time.sleep(SECONDS)


def resident_megabytes(process: int) -> float:
    """A process's resident memory, MB; 0 where it has ended."""
    try:
        lines = (PROC / str(process) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS")), 0.0)
