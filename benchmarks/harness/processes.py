"""The contenders' processes: asked in turn, and stopped in between, so that an idle one takes no time from another."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.environments import BUILD

__all__ = ["ContenderError", "ContenderProcess", "cores", "memory_free"]

BENCHMARKS = Path(__file__).parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}

PREPARING, ANSWERING = 3600, 900
"""Seconds that one may take: exporting a BERT-base as int8 while others are at work; compiling, and a first answer."""


class ContenderError(Exception):
    """A contender could not do what it was asked; the message says why."""


class ContenderProcess:
    """One process of benchmarks/peers, on the cores of this one.

    `started` is when it was started, in the seconds of time.perf_counter.
    """

    def __init__(self, peer: str, python: Path, log: str, sources: tuple[Path, ...] = ()) -> None:
        path = os.pathsep.join(map(str, (BENCHMARKS, *sources)))
        variables = dict.fromkeys(THREAD_VARIABLES, str(cores())) | QUIET | {"PYTHONPATH": path}
        logs = BUILD / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"{log.replace('/', '-')}.log"
        with self.log.open("w", encoding="utf-8") as errors:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [python, "-P", "-m", "peers", peer],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | variables,
            )

    def ask(self, do: str, **request: Any) -> Any:
        """What the contender answers.

        Raises ContenderError where it fails or ends.
        """
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None and self.process.stdout is not None  # noqa: PT018
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ContenderError(self.end()) from None
        longest = PREPARING if do == "prepare" else ANSWERING
        if not select.select([self.process.stdout], [], [], longest)[0]:
            self.close()
            raise ContenderError(f"it did not answer within {longest} s")
        line = self.process.stdout.readline()
        if not line:
            raise ContenderError(self.end())
        self.process.send_signal(signal.SIGSTOP)
        answer: Mapping[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(str(answer["error"]))
        return answer["ok"]

    def end(self) -> str:
        """How it ended, of itself."""
        code = self.process.wait()
        self.close()
        return f"its process ended with {code}; {self.log} may say why"

    def peak_bytes(self) -> int:
        """The most memory that the process ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # what it was asked as it ended
                pipe.close()


def cores() -> int:
    """How many this process may use; each contender has as many threads."""
    return len(os.sched_getaffinity(0))


def memory_free() -> int:
    """Bytes that new processes may take."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    return int(text.partition("MemAvailable:")[2].split()[0]) * 1024
