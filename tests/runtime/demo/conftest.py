"""What the demo's tests share: `mlm demo` as a process, the models that it serves, and a browser that visits it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from altered_bundles import without_attention
from chromium import CHROMIUM
from playwright.sync_api import Browser, Page, sync_playwright
from served_pages import Served, serving

Serve = Callable[..., Served]
Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Serves a page of bundles, with options of `mlm demo`."""
    with ExitStack() as stack:

        def start(*arguments: object) -> Served:
            command = [sys.executable, "-m", "maskedge", "demo", "--port", "0", *map(str, arguments)]
            return stack.enter_context(serving(tmp_path_factory.mktemp("demo"), command))

        yield start


@pytest.fixture(scope="session")
def served(serve: Serve, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A page of the tiny model, and of the same without graphs of attention."""
    other = without_attention(tmp_path_factory.mktemp("bundle") / "other")
    return serve("--model", bundle, "--model", other)


@pytest.fixture(scope="module")  # Playwright's event loop keeps others from running
def browser() -> Iterator[Browser]:
    """A real browser."""
    if CHROMIUM is None:
        pytest.skip("no Chromium to show the page in")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


@pytest.fixture
def complaints() -> list[str]:
    """The errors of the pages that were visited, and the strangers that they called."""
    return []


@pytest.fixture
def visit(browser: Browser, complaints: list[str]) -> Iterator[Visit]:
    """Opens a page, which must have nothing to complain of, and call nobody but its server."""
    with ExitStack() as stack:

        def open_page(served: Served, width: int = 1280, **options: Any) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 844}, **options)
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", lambda said: complaints.extend([said.text] if said.type == "error" else []))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda asked: complaints.extend(strangers(asked.url, served.url)))
            page.goto(served.url)
            page.locator("#words button").first.wait_for()
            return page

        yield open_page
    assert complaints == []


def strangers(url: str, own: str) -> list[str]:
    """The URL, where it is another machine's."""
    return [] if url.startswith((own, "data:", "blob:")) else [url]
