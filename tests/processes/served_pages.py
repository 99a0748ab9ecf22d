"""A page that is served by a process, which notes whom it calls; and what is asked of it over HTTP."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

__all__ = ["Served", "serving", "shown_bars"]

NOTING = """
import os, sys
path = os.environ["CALLS_LOG"]
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(path, "a") as log:
            log.write(f"{arguments[1] if event == 'socket.connect' else arguments[0]!r}\\n")
sys.addaudithook(note)
"""
"""A `sitecustomize` that writes down each address that a process, or one that it starts, calls or looks up."""


@dataclass(frozen=True)
class Served:
    """A page that is served."""

    url: str
    process: "subprocess.Popen[str]"
    folder: Path
    """Where the process puts what is temporary."""
    calls: Path
    """The addresses that it called."""

    def ask(self, name: str, *values: Any) -> Any:
        """What one of the page's questions is answered."""
        return self.post(f"/ask/{name}", json.dumps(values).encode())

    def ask_in_queue(self, name: str, *values: Any) -> list[Any]:
        """What one of the questions about files is answered, which wait in Gradio's queue."""
        asked = self.post(f"/gradio_api/call/{name}", json.dumps({"data": values}).encode())
        with urllib.request.urlopen(f"{self.url}/gradio_api/call/{name}/{asked['event_id']}", timeout=60) as answer:
            said = answer.read().decode()
        assert "event: complete" in said, said
        found: list[Any] = json.loads(said.rpartition("data: ")[2])
        return found

    def post(self, path: str, body: bytes, **headers: str) -> Any:
        """What a request brings back."""
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": "application/json", **headers}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def end(self, number: int = signal.SIGINT) -> int:
        """Sends it a signal. Returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    @property
    def visitors_files(self) -> list[Path]:
        """All files of visitors' in its folder; Gradio leaves an empty one beside each that was asked about."""
        starts = self.folder.glob("mlm-demo-*")
        files = [Path(folder, name) for start in starts for folder, _, names in os.walk(start) for name in names]
        return [path for path in files if _size(path) > 0]


def _size(path: Path) -> int:
    """Bytes of a file; 0 of one that has just been taken away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def serving(place: Path, command: list[str], said: str = r"Open (http://\S+)", **environment: str) -> Iterator[Served]:
    """A page served by a command, until the block ends."""
    folder, calls = place / "temporary", place / "calls.log"
    folder.mkdir()
    calls.touch()
    (place / "sitecustomize.py").write_text(NOTING)
    path = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))
    noting = {"PYTHONPATH": path, "CALLS_LOG": str(calls), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with (place / "errors.log").open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **noting, **environment}
        )
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = re.search(said, line)
        assert found, line + (place / "errors.log").read_text()
        yield Served(found[1], process, folder, calls)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def shown_bars(html: str) -> list[tuple[str, str]]:
    """The names and percentages of bars, as a visitor reads them."""
    found = re.findall(r'<bdi dir="auto">(.*?)</bdi><span class="mlm-share">(.*?)</span>', html, re.DOTALL)
    return [(unescape(name), unescape(share)) for name, share in found]
