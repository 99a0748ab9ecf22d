"""The static page: how many bytes it has, how soon it answers in Chromium, and how close that is to Python.

    .venv/bin/python benchmarks/static_page.py --out docs/results/static_page.json

The page is opened from the disk in a browser that was just started; the first answer is there when the page shows it.
An answer's time is the page's own: the text read, the model run, the guesses found. Writes the figures as JSON.
"""

import json
import math
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from chromium import Browser
from rich.console import Console
from rich.table import Table

from maskedge import Predictor
from maskedge.inference.words import word_spans
from maskedge.static_page import WrittenPage, write_static_page
from maskedge.static_page.packages import PACKAGES

SENTENCES = Path(__file__).parents[1] / "examples" / "sentences.txt"

Metrics = dict[str, Any]


def main(
    sentences: Annotated[int, typer.Option(help="Sentences that are filled, one word hidden in each.")] = 200,
    starts: Annotated[int, typer.Option(help="Browsers that are started.")] = 5,
    out: Annotated[Path, typer.Option()] = Path("build/static_page.json"),
) -> None:
    """Measure, print a table, and write the figures."""
    predictor = Predictor.load()
    with tempfile.TemporaryDirectory() as directory:
        page = write_static_page(predictor.bundle, Path(directory) / "page")
        first = [first_answer(page, Path(directory) / f"profile-{number}") for number in range(starts)]
        browser = Browser(Path(directory) / "profile")
        try:
            browser.open(page.path.as_uri())
            answers = [answer(browser, predictor, text) for text in masked_sentences(sentences, predictor.mask_token)]
            version = browser.call("Browser.getVersion")["product"]
        finally:
            browser.close()
    figures = {
        "browser": version,
        "packages": {package.name: package.version for package in PACKAGES},
        "model": predictor.name,
        "page_bytes": page.total,
        "packed_bytes": page.sizes,
        "starts": starts,
        "first_answer_seconds": statistics.median(first),
        "sentences": sentences,
        **summarize(answers),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def first_answer(page: WrittenPage, profile: Path) -> float:
    """Seconds from asking a new browser for the page to its first answer."""
    browser = Browser(profile)
    try:
        started = time.perf_counter()
        browser.open(page.path.as_uri())
        return time.perf_counter() - started
    finally:
        browser.close()


def masked_sentences(count: int, mask_token: str) -> list[str]:
    """Sentences with one word masked, which is another one from sentence to sentence."""
    masked = []
    for number, text in enumerate(SENTENCES.read_text(encoding="utf-8").splitlines()[:count]):
        spans = word_spans(text)
        start, stop = spans[number % len(spans)]
        masked.append(text[:start] + mask_token + text[stop:])
    return masked


def answer(browser: Browser, predictor: Predictor, text: str) -> Metrics:
    """How long the page took to fill a mask, and how its answer differs from Python's."""
    found = browser.answered(lambda: browser.write(text))
    took = re.search(r" in (\d+) ms", found["status"])
    assert took, found["status"]
    shown = found["masks"][0]
    (fill,) = predictor.fill([text], top_k=50)
    expected = {each.token_str: math.log(each.score) for each in fill.masks[0].predictions}
    pairs = zip(shown["tokens"], shown["scores"], strict=True)
    return {
        "milliseconds": int(took[1]),
        "same_best": shown["tokens"][0] == fill.masks[0].predictions[0].token_str,
        "difference": max(abs(math.log(score) - expected[token]) for token, score in pairs),
    }


def summarize(answers: list[Metrics]) -> Metrics:
    """What is said of all answers together; differences in nats, of the five most probable tokens."""
    milliseconds = [each["milliseconds"] for each in answers]
    return {
        "answer_milliseconds": statistics.median(milliseconds),
        "answer_milliseconds_p95": statistics.quantiles(milliseconds, n=20)[-1],
        "same_best_token": statistics.mean(each["same_best"] for each in answers),
        "median_logprob_difference": statistics.median(each["difference"] for each in answers),
        "max_logprob_difference": max(each["difference"] for each in answers),
    }


def show(figures: Metrics) -> None:
    """Print the figures as a table."""
    table = Table("static page", "")
    table.add_row("page, MB", f"{figures['page_bytes'] / 1e6:.1f}")
    for name, size in figures["packed_bytes"].items():
        table.add_row(f"  {name}, packed, MB", f"{size / 1e6:.2f}")
    table.add_row("first answer, s", f"{figures['first_answer_seconds']:.2f}")
    table.add_row("an answer, ms, median", f"{figures['answer_milliseconds']:.0f}")
    table.add_row("same best token as Python", f"{figures['same_best_token']:.1%}")
    table.add_row("largest difference, nats", f"{figures['max_logprob_difference']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
