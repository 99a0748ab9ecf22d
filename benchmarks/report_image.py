"""The picture of a report in the documentation: the example sentences, scored with the bundled model.

    .venv/bin/python benchmarks/report_image.py --out docs/images/report.png

It needs Chromium.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from maskedge_batch import Job, score_file

EXAMPLES = Path(__file__).parents[1] / "examples" / "masked_sentences.parquet"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]


def main(
    out: Annotated[Path, typer.Option()], width: Annotated[int, typer.Option()] = 1100, height: int = 1400
) -> None:
    """Take the picture of the top of the page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("There is no Chromium to show the page in: install it, such as with apt install chromium.")
    with tempfile.TemporaryDirectory() as directory:
        outcome = score_file(Job(EXAMPLES, Path(directory) / "masked_sentences.scored.parquet"))
        place = [f"--window-size={width},{height}", f"--screenshot={out.absolute()}", f"--user-data-dir={directory}/me"]
        page = Path(str(outcome.html)).as_uri()
        subprocess.run([chromium, *FLAGS, *place, page], check=True, capture_output=True, timeout=120)
    print(out)


if __name__ == "__main__":
    typer.run(main)
