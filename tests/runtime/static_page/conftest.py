"""Pages of two models, written once, and a browser to open them in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, Browser, Served

from maskedge import Bundle
from maskedge.bundle.hub import find_bundle
from maskedge.errors import PageError
from maskedge.static_page import WrittenPage, write_static_page


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium to show the page in")
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


WritePage = Callable[..., WrittenPage]


@pytest.fixture(scope="session")
def write_page() -> WritePage:
    """What writes a page; the test is skipped where npm cannot fetch what it takes."""

    def write(*arguments: Any, **options: Any) -> WrittenPage:
        try:
            return write_static_page(*arguments, **options)
        except PageError as error:
            pytest.skip(str(error))

    return write


@pytest.fixture(scope="session")
def english_page(write_page: WritePage, tmp_path_factory: pytest.TempPathFactory) -> WrittenPage:
    """The bundled model's page, in one file."""
    return write_page(Bundle.open(find_bundle(None, None)), tmp_path_factory.mktemp("english"))


@pytest.fixture(scope="session")
def tiny_page(write_page: WritePage, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> WrittenPage:
    """The tiny model's page in fp32, with its files beside it."""
    return write_page(Bundle.open(bundle), tmp_path_factory.mktemp("tiny"), precision="fp32", single_file=False)


@pytest.fixture(scope="session")
def small_page(write_page: WritePage, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> WrittenPage:
    """The tiny model's page in int8, in one file."""
    return write_page(Bundle.open(bundle), tmp_path_factory.mktemp("small"), precision="int8")


@pytest.fixture(scope="session")
def served_tiny(tiny_page: WrittenPage) -> Iterator[Served]:
    served = Served(tiny_page.path.parent)
    yield served
    served.close()
