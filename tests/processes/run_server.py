"""Runs of the real command line, many in a short time: a process that has imported everything forks for each.

Started as a script; `RunServer` talks to it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from types import FrameType
from typing import Any

__all__ = ["Ended", "RunServer"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    code: int
    """Its exit code; below 0 the signal that killed it."""
    seconds: float
    said: str
    """On standard error."""
    steps: int
    """That it took, where `die_at` was given."""


class RunServer:
    """The process, as a context manager."""

    def __enter__(self) -> "RunServer":
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, __file__], **pipes)
        return self

    def run(
        self,
        *arguments: object,
        after: float | None = None,
        number: int = signal.SIGKILL,
        die_at: int | None = None,
    ) -> Ended:
        """Runs `mlm-batch` to its end.

        Args:
            arguments: Of the command line.
            after: Seconds after which a signal is sent.
            number: Which signal.
            die_at: The run kills itself before this of its steps, which look at, publish or remove files.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"arguments": list(map(str, arguments)), "after": after, "number": number, "die_at": die_at}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def __exit__(self, *raised: object) -> None:
        self._process.communicate(timeout=30)


def _serve() -> None:
    import altair  # noqa: F401  what follows is there before the first run, so that none takes the time
    import duckdb  # noqa: F401
    import vl_convert  # noqa: F401

    from maskedge_batch.cli.app import app
    from maskedge_batch.reports.rendering import TEMPLATES

    for name in TEMPLATES.list_templates(["html", "md"]):
        TEMPLATES.get_template(name)
    with redirect_stderr(StringIO()):
        app(["score", "/no/such/file"], standalone_mode=False)

    for line in sys.stdin:
        sys.stdout.write(json.dumps(_run(**json.loads(line))) + "\n")
        sys.stdout.flush()


def _run(arguments: Sequence[str], after: float | None, number: int, die_at: int | None) -> dict[str, Any]:
    reading, writing = os.pipe()
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        _become_a_run(arguments, writing, die_at)
    os.close(writing)
    if after is not None:
        time.sleep(max(0.0, start + after - time.monotonic()))
        os.kill(process, number)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(process, 0)
    steps = said.count("\0")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - start,
        "said": said.replace("\0", ""),
        "steps": steps,
    }


def _become_a_run(arguments: Sequence[str], said: int, die_at: int | None) -> None:
    from maskedge_batch.__main__ import main

    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor, source in ((0, nothing), (1, nothing), (2, said)):
        os.dup2(source, descriptor)
    if die_at is not None:
        _die_at(die_at)
    sys.argv = ["mlm-batch", *arguments]
    code = 70
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}".encode())
    finally:
        os._exit(code)


def _die_at(step: int) -> None:
    """Has this process kill itself just before its n-th step: a call of a function that looks at, publishes or removes
    files."""
    storage = f"maskedge_batch{os.sep}storage{os.sep}"
    done = 0

    def watch(frame: FrameType, event: str, given: Any) -> None:
        nonlocal done
        if event == "call" and storage in frame.f_code.co_filename:
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(2, b"\0")

    sys.setprofile(watch)


if __name__ == "__main__":
    _serve()
