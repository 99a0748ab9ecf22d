"""`mlm demo`."""

import os
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated, NoReturn

import typer

from maskedge.bundle.format import Bundle
from maskedge.bundle.hub import find_bundle
from maskedge.cli.messages import USAGE_ERROR, directory_errors, fail, open_console, say
from maskedge.extras import exit_without_extra
from maskedge.static_page import how_to_open, write_static_page

__all__ = ["demo"]

HOST, PORT = "127.0.0.1", 7860
OWN_ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Gradio tells its makers nothing of who uses this."""


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="A bundle's directory or Hub id; may be repeated.", show_default="maskedge's own"
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Which of the bundles' graphs to run.", show_default="each bundle's first")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="The address to listen at; 0.0.0.0 is every one of this machine.", show_default=HOST),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The port to listen at; 0 is any free one.", show_default=str(PORT)),
    ] = None,
    static: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Serve nothing: write a page into this directory that fills masks in the browser that opens it, "
            "offline. Takes npm, once.",
        ),
    ] = None,
) -> None:
    """Serve a page to play with models in a browser: fill masks, score sentences, score small files. Ctrl-C ends it.

    With --static it is written for one model instead, to be opened without a server.
    """
    if static is None:
        _serve(model or [], precision, HOST if host is None else host, PORT if port is None else port)
    elif (host, port) != (None, None):
        fail("a static page has no --host and no --port: it needs no server", USAGE_ERROR)
    elif len(model or []) > 1:
        fail("a static page is of one model: give one --model", USAGE_ERROR)
    else:
        _write(model[0] if model else None, precision, static)


def _write(model: str | None, precision: str | None, directory: Path) -> None:
    with directory_errors(directory):
        written = write_static_page(Bundle.open(find_bundle(model, None)), directory, precision=precision)
    sys.stdout.write(f"{written.path}\n")
    say(how_to_open(written))


def _serve(models: list[str], precision: str | None, host: str, port: int) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with TemporaryDirectory(prefix="mlm-demo-") as folder, _listen(host, port) as listener:
            os.environ.update(OWN_ENVIRONMENT, GRADIO_TEMP_DIR=folder)
            _serve_at(listener, models, precision, Path(folder))
    except KeyboardInterrupt:
        say("Ended.")


def _serve_at(listener: socket.socket, models: list[str], precision: str | None, folder: Path) -> None:
    try:
        from maskedge.demo.models import open_models
        from maskedge.demo.serving import serve  # takes seconds to import
    except ModuleNotFoundError as error:
        exit_without_extra("mlm demo", "demo", error)
    with open_models(models, precision) as opened:
        serve(opened, listener, folder, lambda: _announce(listener))


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    open_console().print(f"Open {address} - Ctrl-C ends it.", soft_wrap=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        fail(f"cannot listen at {host}, port {port} ({error.strerror}): name others", USAGE_ERROR)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer waits 40 ms behind its own head
    return listener


def _interrupt(*_: int | FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
