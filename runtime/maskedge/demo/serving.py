"""The page's server: one process, no request to anywhere else, bodies bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import gradio as gr
import uvicorn
from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from maskedge.demo.file_questions import FileQuestions
from maskedge.demo.limits import KEPT_SECONDS, MAX_BODY, MAX_DISK, MAX_FILE, SWEEP_SECONDS
from maskedge.demo.models import Model
from maskedge.demo.page import SCRIPT, build_page
from maskedge.demo.questions import Questions
from maskedge.demo.routes import question_routes
from maskedge.demo.scored_files import FileScorer
from maskedge.demo.theme import STYLE, theme

__all__ = ["serve"]

CLOSING_SECONDS = 1
"""That answers in flight have when the server ends; pages that stay open would hold it for ever."""
UPLOAD = "/gradio_api/upload"
MAX_DRAINED = 64 << 20
"""Bytes of a refused request that are read to their end."""


def serve(models: dict[str, Model], listener: socket.socket, folder: Path, announce: Callable[[], None]) -> None:
    """Serves the page until a signal ends it.

    Args:
        models: By name, from `open_models`.
        listener: A socket that is bound.
        folder: Where visitors' files lie.
        announce: Called when the page is there.

    Raises:
        KeyboardInterrupt: When it was ended by SIGINT, after all was put away.
    """
    scorer = FileScorer(folder)
    config = uvicorn.Config(
        BoundedBodies(_app(models, scorer), scorer),
        log_level="critical",
        timeout_graceful_shutdown=CLOSING_SECONDS,
        server_header=False,
    )
    announce()
    try:
        uvicorn.Server(config).run([listener])
    finally:
        scorer.close()


def _app(models: dict[str, Model], scorer: FileScorer) -> FastAPI:
    """The page, and the questions that it asks."""
    questions = Questions(models)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=partial(_sweeping, scorer))
    app.include_router(question_routes(questions))
    gr.mount_gradio_app(
        app,
        build_page(questions, FileQuestions(models, scorer)),
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        max_file_size=MAX_FILE,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=theme(),
        css=STYLE,
        head=SCRIPT,
    )
    return app


@asynccontextmanager
async def _sweeping(scorer: FileScorer, _: FastAPI) -> AsyncIterator[None]:
    """Removes files that are too old, every minute while the server runs."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await run_sync(scorer.remove_older, KEPT_SECONDS)

    sweeping = asyncio.create_task(sweep())
    yield
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


class BoundedBodies:
    """Refuses requests that are too big, in a line and before anything of them is kept."""

    def __init__(self, app: ASGIApp, scorer: FileScorer) -> None:
        self.app = app
        self.scorer = scorer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with why not."""
        refusal = self._refusal(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        await _drain(receive)
        code, reason = refusal
        await JSONResponse({"detail": reason, "error": reason}, code, {"connection": "close"})(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        length = Headers(scope=scope).get("content-length")
        if length is None:
            return 411, "A request needs a Content-Length."
        is_file = scope["path"] == UPLOAD
        most = MAX_FILE + MAX_BODY if is_file else MAX_BODY
        if int(length) > most:
            what, size = ("A file", f"{MAX_FILE >> 20} MB") if is_file else ("A request", f"{MAX_BODY >> 10} KB")
            return 413, f"{what} may have {size} at most."
        if is_file and self.scorer.bytes_kept() > MAX_DISK:
            return 507, "Too many files are being scored: try again in a few minutes."
        return None


async def _drain(receive: Receive) -> None:
    """Reads what is sent, and drops it: whoever sends it reads the answer only then."""
    read, more = 0, True
    while more and read < MAX_DRAINED:
        message = await receive()
        read += len(message.get("body", b""))
        more = message.get("more_body", False)
