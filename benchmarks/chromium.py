"""Chromium told what to do over the pipe of its DevTools, for the tests and the measurement of the static page."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Browser", "Served"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
]  # fmt: skip
SECONDS = 60
PIPED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Starts Chromium with its pipes where it looks for them."""
ANSWERED = "document.querySelector('#answer')?.getAttribute('aria-busy') === 'false'"
READ_PAGE = """({
  status: document.querySelector("#status").textContent,
  filled: document.querySelector("#filled").hidden ? null : document.querySelector("#filled").textContent,
  masks: [...document.querySelectorAll("article")].map(one => ({
    tokens: [...one.querySelectorAll(".guesses bdi")].map(token => token.textContent),
    scores: [...one.querySelectorAll(".guesses data")].map(score => score.value).map(Number),
    percents: [...one.querySelectorAll(".guesses data")].map(score => score.textContent),
    entropy: Number(one.querySelector(".unsure data").value),
    unsure: one.querySelector(".unsure").textContent,
    hidden: one.querySelector(".hidden")?.textContent ?? null,
    score: Number(one.querySelector(".hidden data")?.value),
  })),
})"""
"""What the page shows, as a reader finds it."""


class Browser:
    """One tab of Chromium, told what to do over the pipe of its DevTools."""

    def __init__(self, profile: Path) -> None:
        reads, self._tell = os.pipe()
        self._hear, writes = os.pipe()
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PIPED, str(reads), str(writes), *command],
            pass_fds=(reads, writes),
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._heard = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        """What the console was told, errors that nobody caught, violations of the page's policy among them."""
        self.requested: list[str] = []
        """The addresses that the page asked for."""
        tabs = self.call("Target.getTargets")["targetInfos"]
        target = next(tab["targetId"] for tab in tabs if tab["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the DevTools protocol gives."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._tell, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Goes to a page and waits for its first answer."""
        self.complaints.clear()
        self.requested.clear()
        self.call("Page.navigate", url=address)
        self.wait(ANSWERED)

    def run(self, script: str) -> Any:
        """What an expression gives in the page, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true in the page."""
        self.run(
            f"new Promise((done, failed) => {{ const end = Date.now() + {SECONDS * 1000};"
            f" const look = () => ({condition}) ? done() : Date.now() > end ? failed(document.body.innerText) : "
            "setTimeout(look, 5); look(); })"
        )

    def answered(self, action: Callable[[], object]) -> dict[str, Any]:
        """What the page says after an action: see `READ_PAGE`."""
        action()
        self.wait(ANSWERED)
        found: dict[str, Any] = self.run(READ_PAGE)
        return found

    def write(self, text: str) -> None:
        """Puts a text in the place of the sentence, as somebody who pastes it."""
        self.run("document.querySelector('#sentence').select(), document.querySelector('#sentence').focus()")
        self.call("Input.insertText", text=text)

    def hide(self, word: str) -> None:
        """Clicks on a word of the sentence."""
        places = self.run("[...document.querySelectorAll('#words button')].map(one => one.textContent)")
        self.run(
            f"document.querySelectorAll('#words button')[{places.index(word)}].id = 'wanted',"
            " [...document.querySelectorAll('#words button:not(#wanted)')].forEach(one => one.removeAttribute('id'))"
        )
        self.click("#wanted")

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element."""
        x, y = self.run(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " it.scrollIntoView({ block: 'center' });"
            " const box = it.getClientRects()[0]; return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """A key."""
        codes = {
            "Enter": (13, "\r"),
            "Tab": (9, ""),
            "ArrowRight": (39, ""),
            "ArrowLeft": (37, ""),
            "Home": (36, ""),
            "End": (35, ""),
        }
        number, text = codes[key]
        about = {"key": key, "code": key, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def show(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Makes the screen as wide, in a colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        try:
            self.call("Browser.close")
        except (OSError, EOFError):
            self._process.kill()
        self._process.wait(SECONDS)
        os.close(self._tell)
        os.close(self._hear)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._heard:
            more = os.read(self._hear, 1 << 20)
            if not more:
                raise EOFError("Chromium ended")
            self._heard += more
        message, _, self._heard = self._heard.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, about = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(about["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(about))


class Served:
    """A directory on a web server of this machine, and what was asked of it."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the base class's name
                asked.append(self.path)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self) -> None:
        """Ends the server."""
        self.server.shutdown()
        self.server.server_close()
