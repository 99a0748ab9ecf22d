"""The picture of `mlm demo` in the documentation: the page as it is opened, in a real browser.

    .venv/bin/python benchmarks/demo_picture.py --model my-bundle --out docs/images/demo.png

It needs Chromium, and shows attention where the bundle has a graph of it.
"""

from pathlib import Path
from typing import Annotated

import typer
from chromium import CHROMIUM
from PIL import Image
from playwright.sync_api import sync_playwright
from served_demo import serving_demo

COLOURS = 256
"""Of the picture: few, so that it is small."""


def main(
    out: Annotated[Path, typer.Option()],
    model: Annotated[str | None, typer.Option(help="A bundle; the bundled model by default.")] = None,
    width: int = 1240,
    height: int = 900,
) -> None:
    """Take the picture."""
    if CHROMIUM is None:
        raise SystemExit("There is no Chromium to show the page in: install it, such as with apt install chromium.")
    with serving_demo(model) as address, sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM).new_page(
            viewport={"width": width, "height": height}, color_scheme="light"
        )
        page.goto(address)
        page.locator("#words button").first.wait_for()
        page.screenshot(path=out, full_page=True)
    Image.open(out).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    typer.run(main)
