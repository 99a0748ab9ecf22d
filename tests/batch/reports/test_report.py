"""Reports: one value of figures shown three ways, safe to open and complete in one file."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge_batch.runs.job import Job, Outcome, score_file

WriteInput = Callable[..., Path]

ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, bundle: Path, sentences: list[dict[str, Any]]) -> Outcome:
    path = tmp_path_factory.mktemp("report") / "sentences & more.parquet"
    hostile: list[dict[str, Any]] = [
        {"id": 240, "text": f"{ATTACK} | [MASK] `{{{{ 7 * 7 }}}}`", "target": "the"},
        {"id": 241, "text": None, "target": None},
    ]
    # Few enough rows that every one of them is among the hardest or the easiest.
    pq.write_table(pa.Table.from_pylist([*sentences[:10], *hostile]), path)
    return score_file(Job(path, model=bundle))


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def source(outcome: Outcome) -> str:
    return outcome.html.read_text()


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_the_page_needs_no_other_file_and_no_network(page: Page, source: str) -> None:
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "background", "poster"}
    assert not [pair for pair in page.attributes if pair[0] in loading and not pair[1].startswith("#")]
    assert not [pair for pair in page.attributes if pair[0].startswith("on")]
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<]+", source)) <= namespaces


def test_text_from_the_input_is_only_text(page: Page, source: str) -> None:
    assert "<script" not in source
    assert "<img" not in source
    assert ATTACK in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "sentences & more.parquet" in page.text


def test_the_markdown_tables_hold_against_any_text(outcome: Outcome) -> None:
    markdown = outcome.markdown.read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    (line,) = [line for line in markdown.splitlines() if line.startswith("| 10 | ")][:1]
    assert len(re.findall(r"(?<!\\)\|", line)) == 6


def test_masks_are_marked(page: Page) -> None:
    assert page.tags.count("mark") >= 10


def test_the_page_draws_a_histogram_of_each_kind_of_row(page: Page) -> None:
    assert page.tags.count("svg") == 5  # for wide and narrow screens, and one reliability diagram
    assert "row perplexity" in page.text


def test_the_page_follows_light_and_dark_and_narrow_screens(source: str, page: Page) -> None:
    assert "prefers-color-scheme: dark" in source
    assert ("name", "viewport") in page.attributes


def test_what_is_drawn_is_described(page: Page) -> None:
    said = [value for name, value in page.attributes if name == "aria-label" and value != "Contents"]
    assert len(said) == page.attributes.count(("role", "img")) == page.tags.count("svg")
    assert all(value.endswith(".") for value in said)


def test_json_holds_every_figure(outcome: Outcome) -> None:
    assert json.loads(outcome.json.read_text()) == json.loads(json.dumps(asdict(outcome.report)))


def test_all_reports_show_the_same_figures_with_their_definitions(outcome: Outcome, page: Page) -> None:
    report, markdown = outcome.report, outcome.markdown.read_text()
    assert report.masked is not None
    assert report.masked.overall is not None
    assert report.unmasked is not None
    assert report.run is not None
    shown = [
        f"{value:#.4g}" if value < 999 else f"{value:,.0f}"
        for estimate in (
            report.masked.overall.perplexity,
            report.masked.mean_entropy,
            report.unmasked.overall.pseudo_perplexity,
        )
        for value in (estimate.value,)
    ]
    for text in (page.text, markdown):
        assert all(figure in text for figure in [*shown, report.provenance.fingerprint])
        assert "null_text" in text
        assert all(definition in text for definition in report.definitions.values())
        assert report.run.versions["onnxruntime"] in text


def test_without_targets_the_report_says_how_to_get_a_perplexity(write_input: WriteInput, bundle: Path) -> None:
    outcome = score_file(Job(write_input({"text": ["[MASK] ."]}), model=bundle))
    assert outcome.report.masked is not None
    assert outcome.report.masked.overall is None
    assert "--target-column" in outcome.html.read_text()
    assert json.loads(outcome.json.read_text())["masked"]["overall"] is None
