"""The page as a browser shows it: whatever a text holds, on a narrow screen, in both schemes."""

import html
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_scores import Rows, drawn_rows, masked_row, unmasked_row

from maskedge_batch.reports import comparison_rendering
from maskedge_batch.reports.charts import differences_svg
from maskedge_batch.reports.comparing import make_comparison
from maskedge_batch.reports.comparison import DifferenceBin
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.rendering import as_html

pytestmark = pytest.mark.slow

WriteScored = Callable[..., Path]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page in")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--virtual-time-budget=5000",
]  # fmt: skip

ASKING = """<!doctype html><iframe src="page.html" width="{width}" height="700" style="border:0"></iframe><pre></pre>
<script>
document.querySelector("iframe").onload = event => {{
  const page = event.target.contentDocument, root = page.documentElement;
  const wide = [...page.querySelectorAll("main *")].filter(
    one => one.getBoundingClientRect().right > {width} + 0.5 && one.checkVisibility() && !one.closest("thead, .token"));
  document.querySelector("pre").textContent = JSON.stringify({{
    attacked: [window.attacked, event.target.contentWindow.attacked].some(Boolean),
    elements: [...new Set([...page.querySelectorAll("body *")].map(one => one.tagName.toLowerCase()))],
    handlers: [...page.querySelectorAll("*")].flatMap(one => one.getAttributeNames()).filter(name => /^on/.test(name)),
    overflow: root.scrollWidth - root.clientWidth,
    charts: [...page.querySelectorAll("figure svg")].filter(one => one.checkVisibility()).map(one => one.classList[0]),
    broken: [...page.querySelectorAll(".target b, .stat dd, th.label")].filter(one => {{
      const range = page.createRange();
      range.selectNodeContents(one);
      const tops = [...range.getClientRects()].map(line => line.top);
      return !/\\s/.test(one.textContent.trim()) && Math.max(...tops) - Math.min(...tops) > 12;
    }}).map(one => one.textContent),
    wide: wide.map(one => one.outerHTML.slice(0, 120)),
    text: page.body.innerText,
  }});
}};
</script>
"""

HOSTILE = [
    "<script>window.attacked = parent.attacked = 1</script> [MASK]",
    "<img src=x onerror='window.attacked = 1'> [MASK]",
    "</td></table><h1>Not the title</h1><style>main { display: none }</style> [MASK]",
    "&lt;b&gt; &amp; \" ' ` {{ 7 * 7 }} {% raw %} [MASK]",
    "\u202egnihtyreve sesrever siht [MASK]",
    "\u2067\u2067\u200fno end [MASK]",
    "שלום עולם [MASK] טוב",
    "w" * 4000 + " [MASK]",
    "\x00\x1b[31mred\x07 [MASK]",
    "Z͑ͫ̓a̴l̵g̶o [MASK]",
]


def shown(page: str, directory: Path, width: int = 1280) -> dict[str, Any]:
    """What a browser finds in a page, which may run scripts here: its policy is taken out."""
    policy = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^\n]*\n")
    assert policy.search(page)
    (directory / "page.html").write_text(policy.sub("", page), encoding="utf-8")
    (directory / "asking.html").write_text(ASKING.format(width=width), encoding="utf-8")
    command = [os.fspath(CHROMIUM or ""), *FLAGS, f"--user-data-dir={directory / 'profile'}", "--dump-dom"]
    ran = subprocess.run(
        [*command, (directory / "asking.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    answer = re.search(r"<pre>(.*?)</pre>", ran.stdout, re.DOTALL)
    assert answer, ran.stdout[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(answer[1]))
    return found


def page_of(write_scored: WriteScored, rows: Rows, **options: Any) -> str:
    return as_html(make_report([write_scored(rows, **options)], by=["genre"]))


def hostile_rows() -> Rows:
    rows = [masked_row([-1.0 - number], text=text, target=[text], genre=text) for number, text in enumerate(HOSTILE)]
    predictions = [[{"token": 0, "token_str": text, "score": 0.3} for text in HOSTILE[:3]]]
    tokens = [{"token_str": text, "logprob": -3.0 * number} for number, text in enumerate(HOSTILE)]
    rows[0]["mlm_predictions"] = predictions
    return [*rows, unmasked_row(-9.0, mlm_tokens=tokens)]


@pytest.fixture
def hostile(write_scored: WriteScored) -> str:
    return page_of(write_scored, hostile_rows(), model=HOSTILE[0])


def comparison_of(write_scored: WriteScored, rows: Rows) -> str:
    draw = random.Random(0)
    others = [dict(row) for row in rows]
    for row in others:
        logprobs = row.get("mlm_target_logprob") or []
        row["mlm_target_logprob"] = [logprob and logprob * draw.uniform(0.5, 1.4) for logprob in logprobs] or None
    files = write_scored(rows, "a", model=HOSTILE[0]), write_scored(others, "b", model=HOSTILE[1])
    return comparison_rendering.as_html(make_comparison([files[0]], [files[1]], by=["genre"]))


@pytest.fixture
def hostile_comparison(write_scored: WriteScored) -> str:
    return comparison_of(write_scored, hostile_rows())


@needs_chromium
@pytest.mark.parametrize("page", ["hostile", "hostile_comparison"])
def test_hostile_texts_stay_texts(page: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found = shown(request.getfixturevalue(page), tmp_path)
    assert not found["attacked"]
    assert found["handlers"] == []
    assert {"script", "img", "style", "iframe"}.isdisjoint(found["elements"])
    visible = " ".join(found["text"].split())
    assert "<script>window.attacked = parent.attacked = 1</script>" in visible
    assert "&lt;b&gt; &amp; \" ' ` {{ 7 * 7 }} {% raw %}" in visible
    assert "</td></table><h1>Not the title</h1>" in visible
    assert "⟨U+202E⟩gnihtyreve sesrever siht" in visible
    assert "⟨U+2067⟩⟨U+2067⟩⟨U+200F⟩no end" in visible
    assert "⟨U+0000⟩⟨U+001B⟩[31mred⟨U+0007⟩" in visible
    assert "שלום עולם" in visible
    assert not set("\u202e\u2067\x1b\x07") & set(found["text"])


@needs_chromium
@pytest.mark.parametrize("width", [320, 380, 880, 1280])
def test_nothing_is_wider_than_the_screen(
    hostile: str, hostile_comparison: str, write_scored: WriteScored, tmp_path: Path, width: int
) -> None:
    rows = drawn_rows(400)
    pages = (hostile, hostile_comparison, page_of(write_scored, rows), comparison_of(write_scored, rows))
    for number, page in enumerate(pages):
        directory = tmp_path / str(number)
        directory.mkdir()
        found = shown(page, directory, width)
        assert (found["overflow"], found["wide"]) == (0, [])


@needs_chromium
def test_words_and_numbers_of_usual_length_stay_on_one_line(write_scored: WriteScored, tmp_path: Path) -> None:
    row: dict[str, Any] = {"text": "He [MASK] early, and left.", "target": ["shamefacedly"], "genre": "encyclopedia"}
    rows = [masked_row([-18.0 - number / 9], **row) for number in range(30)]
    better = [{**row, "mlm_target_logprob": [logprob + 11 for logprob in row["mlm_target_logprob"]]} for row in rows]
    files = write_scored(rows, "a"), write_scored(better, "b")
    comparison = comparison_rendering.as_html(make_comparison([files[0]], [files[1]], by=["genre"]))
    for number, page in enumerate((page_of(write_scored, rows), comparison)):
        directory = tmp_path / str(number)
        directory.mkdir()
        found = shown(page, directory)
        assert "shamefacedly" in found["text"]
        assert "encyclopedia" in found["text"]
        assert found["broken"] == []


@needs_chromium
def test_a_printed_page_is_laid_out_as_on_a_wide_screen(write_scored: WriteScored, tmp_path: Path) -> None:
    page = page_of(write_scored, drawn_rows(400))
    printed = page.replace("@media print", "@media all").replace("@media screen", "@media not all")
    found = shown(printed, tmp_path, width=720)  # A4 less its margins
    assert set(found["charts"]) == {"wide", "square"}
    assert (found["overflow"], found["wide"]) == (0, [])


def test_differences_of_tens_of_nats_have_an_axis_without_exponents() -> None:
    bins = [DifferenceBin(-50.0, 0.0, 9), DifferenceBin(0.0, 50.0, 1)]
    svg = differences_svg(bins, "word")
    assert "\N{MINUS SIGN}50<" in svg
    assert "e+1" not in svg


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_what_is_behind_it_in_both_schemes(write_scored: WriteScored) -> None:
    style = page_of(write_scored, []).split("<style>")[1]
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split(":root")[1:3])
    for colours in (light, {**light, **dark}):
        pairs = [("ink", "paper"), ("ink", "card"), ("muted", "paper"), ("muted", "card"), ("accent", "paper")]
        pairs += [
            ("mark-ink", "mark"),
            ("a", "paper"),
            ("b", "paper"),
            ("ink", "s1"),
            ("ink", "s2"),
            ("s3-ink", "s3"),
            ("s4-ink", "s4"),
        ]
        for front, back in pairs:
            low, high = sorted((luminance(colours[front]), luminance(colours[back])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)  # WCAG 2.2, AA
