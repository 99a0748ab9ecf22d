"""The page of attention in a real browser: its numbers against the weights, its keys, hostile texts, narrow screens."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskedge import Attention, Predictor
from maskedge.cli.attention_page import attention_page
from maskedge.cli.attention_view import AttentionView, view_attention

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page in")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--virtual-time-budget=5000", "--enable-logging=stderr",
]  # fmt: skip

ASKING = """<!doctype html>
<iframe src="Attention.html{address}" width="{width}" height="800" style="border:0"></iframe><pre></pre>
<script>
document.querySelector("iframe").onload = event => {{
  const window = event.target.contentWindow, page = window.document;
  window.focus();
  const at = id => page.getElementById(id);
  const tokens = side => [...at(side).querySelectorAll("button")];
  const texts = elements => [...elements].map(one => one.textContent);
  const press = (key, target = page.activeElement) =>
    target.dispatchEvent(new window.KeyboardEvent("keydown", {{ key, bubbles: true }}));
  const point = (element, name) => element.dispatchEvent(new window.PointerEvent(name, {{ bubbles: true }}));
  const choose = (id, value) => {{
    at(id).value = value;
    at(id).dispatchEvent(new window.Event("change"));
  }};
  const answer = (() => {{ {script} }})();
  document.querySelector("pre").textContent = JSON.stringify(answer);
}};
</script>
"""
TEXT = "The [MASK] flows from the sea."


@pytest.fixture(scope="module")
def attention(predictor: Predictor) -> Attention:
    return predictor.attend(TEXT)


@pytest.fixture(scope="module")
def view(attention: Attention, predictor: Predictor) -> AttentionView:
    return view_attention(attention, predictor, [], [])


def ask(view: AttentionView, directory: Path, script: str, *, width: int = 1280, address: str = "") -> Any:
    """What a script finds out about the page in a browser, which must have nothing to complain of."""
    (directory / "Attention.html").write_text(attention_page(view), encoding="utf-8")
    asking = ASKING.format(address=address, width=width, script=script)
    (directory / "asking.html").write_text(asking, encoding="utf-8")
    command = [os.fspath(CHROMIUM or ""), *FLAGS, f"--user-data-dir={directory / 'profile'}", "--dump-dom"]
    ran = subprocess.run(
        [*command, (directory / "asking.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert [line for line in ran.stderr.splitlines() if "CONSOLE" in line] == []
    answer = re.search(r"<pre>(.*?)</pre>", ran.stdout, re.DOTALL)
    assert answer, ran.stdout[-2000:]
    return json.loads(html.unescape(answer[1]))


def shares(texts: list[str]) -> list[float]:
    """Percentages as shown, as shares of 1; those too small to show as 0.05 %."""
    return [0.0005 if text.startswith("<") else float(text.removesuffix("\u00a0%")) / 100 for text in texts]


CLOSE = 0.0005 + 0.5 / 4095 + 1e-6
"""A decimal of a percentage, and what keeping weights as 12 bits costs."""


@needs_chromium
@pytest.mark.slow
def test_choosing_a_head_and_pointing_at_a_token_shows_its_weights(
    view: AttentionView, attention: Attention, tmp_path: Path
) -> None:
    found = ask(
        view,
        tmp_path,
        """
        choose("layer", 1);
        choose("head", 2);
        point(tokens("queries")[4], "pointerenter");
        const query = texts(at("keys").querySelectorAll(".share")), said = at("said").textContent;
        const lines = page.querySelectorAll("#lines path").length;
        point(tokens("queries")[4], "pointerleave");
        point(tokens("keys")[1], "pointerenter");
        const key = texts(at("queries").querySelectorAll(".share"));
        const names = texts(at("keys").querySelectorAll("bdi"));
        return { title: at("one-title").textContent, query, key, said, lines, tokens: names };
        """,
    )
    weights = attention.weights[1, 2]
    assert found["title"] == "Layer 2, head 3"
    assert tuple(found["tokens"]) == attention.tokens
    assert shares(found["query"]) == pytest.approx(weights[4].tolist(), abs=CLOSE)
    assert shares(found["key"]) == pytest.approx(weights[:, 1].tolist(), abs=CLOSE)
    assert found["lines"] == (weights[4] >= 0.01).sum()
    best = int(weights[4].argmax())
    begins = f"“{attention.tokens[4]}” looks at “{attention.tokens[best]}” {100 * weights[4, best]:.1f}"
    assert found["said"].startswith(begins)


@needs_chromium
@pytest.mark.slow
def test_the_mask_is_what_is_asked_about_at_first(view: AttentionView, attention: Attention, tmp_path: Path) -> None:
    found = ask(view, tmp_path, 'return texts(at("keys").querySelectorAll(".share"));')
    assert shares(found) == pytest.approx(attention.weights[0, 0, attention.tokens.index("[MASK]")].tolist(), abs=CLOSE)


@needs_chromium
@pytest.mark.slow
def test_every_head_is_a_small_heat_map_that_can_be_clicked(view: AttentionView, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).random(view.weights.shape, np.float32)  # every weight, not only likely ones
    found = ask(
        replace(view, weights=weights),
        tmp_path,
        """
        const buttons = [...page.querySelectorAll("#grid button")];
        const pixels = canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
        buttons[6].click();
        return {
          names: buttons.map(one => one.getAttribute("aria-label")),
          pressed: buttons.map(one => one.getAttribute("aria-pressed")),
          small: pixels(buttons[6].firstChild), large: pixels(at("weights-map")),
          ramp: JSON.parse(at("view").textContent).light,
          title: at("one-title").textContent, address: window.location.hash,
        };
        """,
    )
    assert found["names"] == [f"Layer {layer}, head {head}" for layer in (1, 2) for head in (1, 2, 3, 4)]
    assert found["pressed"].index("true") == 6
    assert found["pressed"].count("true") == 1
    assert found["title"] == "Layer 2, head 3"
    assert found["address"].startswith("#layer=2&head=3")
    ramp = np.frombuffer(bytes.fromhex(found["ramp"]), np.uint8).reshape(256, 3)
    expected = ramp[np.round(255 * weights[1, 2]).astype(int)].astype(int)
    length = len(view.tokens)
    for canvas in ("small", "large"):
        shown = np.array(found[canvas]).reshape(length, length, 4)
        assert np.abs(shown[..., :3] - expected).max() <= 6  # a step of the ramp: weights have 12 bits
        assert (shown[..., 3] == 255).all()


@needs_chromium
@pytest.mark.slow
def test_it_can_be_used_from_the_keyboard(view: AttentionView, tmp_path: Path) -> None:
    found = ask(
        view,
        tmp_path,
        """
        const heads = [...page.querySelectorAll("#grid button")];
        const stops = elements => elements.filter(one => one.tabIndex === 0).length;
        const first = stops(heads);
        heads[0].focus();
        press("ArrowDown");
        press("ArrowRight");
        const title = at("one-title").textContent;
        press("Home");
        const home = at("one-title").textContent;
        tokens("queries")[0].focus();
        press("ArrowDown");
        press("ArrowDown");
        press("ArrowDown");
        const said = at("said").textContent;
        page.activeElement.click();
        const kept = tokens("queries").map(one => one.getAttribute("aria-pressed"));
        page.activeElement.blur();
        const still = at("said").textContent;
        press("Escape", page);
        const after = at("said").textContent;
        return { first, title, home, said, kept, still, stops: stops(tokens("queries")), after };
        """,
    )
    assert (found["first"], found["stops"]) == (1, 1)  # one stop of the Tab key each
    assert (found["title"], found["home"]) == ("Layer 2, head 2", "Layer 1, head 1")
    assert found["said"].startswith(f"“{view.tokens[3]}” looks at")
    assert found["kept"].index("true") == 3
    assert found["still"] == found["said"]
    assert found["after"].startswith("Point at a token")


@needs_chromium
@pytest.mark.slow
def test_a_token_is_followed_through_all_layers(view: AttentionView, attention: Attention, tmp_path: Path) -> None:
    found = ask(
        view,
        tmp_path,
        """
        const titles = row => [...row.cells].slice(1).map(cell => cell.title);
        const cells = () => [...at("through").tBodies[0].rows].map(titles);
        choose("token", 5);
        const mean = cells();
        choose("of-heads", "most");
        return { mean, most: cells(), kept: at("said").textContent };
        """,
    )
    assert found["kept"].startswith(f"“{attention.tokens[5]}” looks at")
    for name, expected in (("mean", attention.weights[:, :, 5].mean(1)), ("most", attention.weights[:, :, 5].max(1))):
        shown = [shares([title.rpartition(", ")[2] for title in row]) for row in found[name]]
        np.testing.assert_allclose(shown, expected, atol=CLOSE)
    strongest = int(attention.weights[1, :, 5, 0].argmax()) + 1
    assert found["most"][1][0].startswith(f"Layer 2, head {strongest}: “{attention.tokens[5]}” looks at")


@needs_chromium
@pytest.mark.slow
def test_an_address_leads_to_a_head_and_a_token(view: AttentionView, tmp_path: Path) -> None:
    script = 'return [at("one-title").textContent, at("said").textContent];'
    title, said = ask(view, tmp_path, script, address="#layer=2&head=4&key=3")
    assert title == "Layer 2, head 4"
    assert said.startswith(f"“{view.tokens[2]}” is looked at by")


HOSTILE = [
    "</script><script>parent.attacked = 1</script>",
    "<img src=x onerror='parent.attacked = 1'>",
    "<!--<script>",
    "]]>&lt;b&gt; &amp; \" ' ` ${7 * 7} $title",
    "\u202egnihtyreve sesrever siht",
    "שלום",
    "\x00\x1b[31m",
    "w" * 500,
]


@needs_chromium
@pytest.mark.slow
def test_hostile_texts_stay_texts(view: AttentionView, tmp_path: Path) -> None:
    count = len(HOSTILE)
    text = " ".join(HOSTILE[:4]) + " [MASK]"
    hostile = replace(
        view, text=text, model=HOSTILE[0], tokens=tuple(HOSTILE), masks=(), weights=view.weights[..., :count, :count]
    )
    found = ask(
        hostile,
        tmp_path,
        """
        point(tokens("queries")[1], "pointerenter");
        return {
          attacked: [window.attacked, parent.attacked, self.attacked].some(Boolean),
          scripts: page.scripts.length, images: page.images.length, title: page.title,
          handlers: [...page.querySelectorAll("*")].flatMap(it => it.getAttributeNames().filter(at => /^on/.test(at))),
          heading: page.querySelector("h1").textContent, tokens: texts(at("keys").querySelectorAll("bdi")),
          said: at("said").textContent, lede: page.querySelector(".lede").textContent,
        };
        """,
    )
    assert not found["attacked"]
    assert (found["scripts"], found["images"], found["handlers"]) == (3, 0, [])
    assert found["heading"] == text
    assert found["tokens"][:4] == HOSTILE[:4]
    assert found["tokens"][4:6] == ["\ufffdgnihtyreve sesrever siht", "שלום"]
    assert found["said"].startswith(f"“{HOSTILE[1]}” looks at")
    assert found["lede"].startswith(HOSTILE[0])


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("length", [9, 70])
def test_nothing_is_wider_than_the_screen(view: AttentionView, tmp_path: Path, width: int, length: int) -> None:
    chance = np.random.default_rng(0)
    weights = chance.dirichlet(np.full(length, 0.1), (12, 12, length)).astype(np.float32)
    tokens = tuple(["[CLS]", "[MASK]", "w" * 60, *["river"] * length][:length])
    numbers = tuple(range(1, 13))
    wide = replace(view, layers=numbers, heads=numbers, tokens=tokens, masks=(1,), total=300, weights=weights)
    found = ask(
        wide,
        tmp_path,
        """
        point(tokens("keys")[1], "pointerenter");
        const root = page.documentElement, right = root.clientWidth + 0.5;
        const beyond = one => one.getBoundingClientRect().right > right && one.checkVisibility();
        const wide = [...page.querySelectorAll("main *")].filter(
          one => beyond(one) && !one.closest(".scroll > *, #lines"));
        const small = [...page.querySelectorAll("#grid button, #looks button, select")].filter(
          one => Math.min(one.clientWidth + 2, one.clientHeight + 2) < 23.5);
        return { overflow: root.scrollWidth - root.clientWidth, wide: wide.map(one => one.outerHTML.slice(0, 100)),
                 small: small.length, notes: texts(page.querySelectorAll("header .notice")) };
        """,
        width=width,
    )
    assert (found["overflow"], found["wide"], found["small"]) == (0, [], 0)
    assert found["notes"] == [f"Tokens 1 to {length} of 300 are shown; the {300 - length} others are left out."]


def test_a_page_of_a_large_model_stays_below_5_megabytes(view: AttentionView) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(128), (12, 12, 128)).astype(np.float32)
    numbers = tuple(range(1, 13))
    large = replace(view, layers=numbers, heads=numbers, tokens=("word",) * 128, weights=weights)
    assert 4_700_000 < len(attention_page(large)) < 5_000_000


def test_the_page_needs_nothing_from_elsewhere(view: AttentionView) -> None:
    page = attention_page(view)
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", page) == []
    assert "default-src 'none'" in page


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_what_is_behind_it_in_both_schemes(view: AttentionView) -> None:
    style = attention_page(view).split("<style>")[1]
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split(":root")[1:3])
    for colours in (light, {**light, **dark}):
        for front in ("ink", "muted", "accent"):
            for back in ("paper", "card", *(["wash"] if front != "muted" else [])):
                low, high = sorted((luminance(colours[front]), luminance(colours[back])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)  # WCAG 2.2, AA
