"""The page in a real browser: what it answers against Python, without a network, by mouse and by keys, on a phone."""

import json
import math
import re
import shutil
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, Served
from tokenizers import Tokenizer

from maskedge import Fill, Predictor
from maskedge.inference.words import word_spans
from maskedge.static_page import WrittenPage

pytestmark = pytest.mark.slow

SENTENCES = [
    ("The keys are on the table.", "table"),
    ("PARIS is the CAPITAL of France!", "CAPITAL"),
    ("École française à Zürich, naïve façade.", "façade"),
    ("In 1984 it cost 12,50 or 3.14.", "1984"),
    ("She doesn't know whether he's coming.", "know"),
    ("東京は日本の首都です and the water flows.", "water"),
    ("Water 😀 flows through the river 👩‍👩‍👧 to the sea.", "flows"),
    ("שלום the child reads a book", "reads"),
    ("“Quoted” — and then… nothing; (really)", "nothing"),
    ("  two  blanks\u00a0and a wide\u3000one  ", "blanks"),
    ("e\u0301tude for the left hand", "left"),
    ("water", "water"),
]
CLOSE = {"fp32": 1e-4, "int8": 0.2}
"""Nats. Other kernels add in another order, which in int8 may move an activation to the next of its levels; measured on
60 sentences with the bundled model: 0.05 at most, and the same best token everywhere."""


def python_fills(predictor: Predictor, text: str, words: list[str], top_k: int = 5) -> Fill:
    """The fill of a text with words masked, each where it first stands."""
    for word in words:
        start = text.index(word)
        text = text[:start] + predictor.mask_token + text[start + len(word) :]
    return predictor.fill([text], top_k=top_k)[0]


def assert_same(found: dict[str, Any], fill: Fill, precision: str) -> None:
    """What the page shows is the fill: tokens, probabilities, entropies, each as close as the precision lets it be."""
    assert len(found["masks"]) == len(fill.masks)
    for shown, mask in zip(found["masks"], fill.masks, strict=True):
        expected = {visible(each.token_str): math.log(each.score) for each in mask.predictions}
        logprobs = [math.log(score) for score in shown["scores"]]
        assert logprobs == pytest.approx(sorted(expected.values(), reverse=True), abs=CLOSE[precision])
        assert shown["entropy"] == pytest.approx(mask.entropy, abs=CLOSE[precision])
        best, second = sorted(expected.values(), reverse=True)[:2]
        if best - second > 2 * CLOSE[precision]:  # else either may be the best
            assert shown["tokens"][0] == visible(mask.predictions[0].token_str)
        pairs = zip(shown["tokens"], logprobs, strict=True)
        both = [(expected[token], logprob) for token, logprob in pairs if token in expected]
        assert len(both) >= len(logprobs) - 2
        assert [one for one, _ in both] == pytest.approx([other for _, other in both], abs=CLOSE[precision])


def visible(token_str: str) -> str:
    return re.sub(r"^ +| +$", lambda blanks: "▁" * len(blanks[0]), token_str)


@pytest.fixture(scope="module")
def in_onnxruntime() -> Predictor:
    """The bundled model in the engine that the page has too."""
    return Predictor.load(engine="onnxruntime")


@pytest.fixture(scope="module")
def fp32(bundle: Path) -> Predictor:
    return Predictor.load(bundle, precision="fp32")


@pytest.fixture
def tiny(browser: Browser, served_tiny: Served) -> Browser:
    """The tiny model's page, just opened."""
    browser.show(width=1280)
    browser.open(served_tiny.address)
    return browser


def write(browser: Browser, text: str) -> dict[str, Any]:
    """Writes a sentence in which nothing is hidden."""
    browser.write("")
    return browser.answered(lambda: browser.write(text))


def test_hiding_a_word_gives_what_python_gives(
    browser: Browser, english_page: WrittenPage, in_onnxruntime: Predictor
) -> None:
    browser.open(english_page.path.as_uri())  # from the disk
    for text, word in SENTENCES:
        assert write(browser, text)["status"].startswith("Nothing is hidden yet")
        found = browser.answered(partial(browser.hide, word))
        assert_same(found, python_fills(in_onnxruntime, text, [word]), "int8")
    assert browser.complaints == []
    assert browser.requested == [english_page.path.as_uri()]


def test_an_fp32_graph_gives_what_python_gives(tiny: Browser, fp32: Predictor) -> None:
    for text, word in SENTENCES:
        write(tiny, text)
        found = tiny.answered(partial(tiny.hide, word))
        assert_same(found, python_fills(fp32, text, [word]), "fp32")
    assert tiny.complaints == []


def test_several_words_are_hidden_and_shown_again(tiny: Browser, fp32: Predictor) -> None:
    text = "the child reads every book"
    write(tiny, text)
    for word in ("child", "book"):
        found = tiny.answered(partial(tiny.hide, word))
    assert_same(found, python_fills(fp32, text, ["child", "book"]), "fp32")
    best = [mask["tokens"][0] for mask in found["masks"]]
    if not any(token.startswith("##") for token in best):
        assert found["filled"] == f"the {best[0]} reads every {best[1]}"
    found = tiny.answered(lambda: tiny.hide("child"))
    assert_same(found, python_fills(fp32, text, ["book"]), "fp32")
    assert tiny.answered(lambda: tiny.click("#release"))["masks"] == []


def test_the_hidden_word_is_rated(tiny: Browser, fp32: Predictor) -> None:
    text = "the water flows through the lands"
    write(tiny, text)
    found = tiny.answered(lambda: tiny.hide("water"))["masks"][0]
    encoded = fp32.encode(text.replace("water", fp32.mask_token))
    token = fp32.target_id(encoded, 0, "water")
    (fill,) = fp32.fill_encoded([encoded], targets=[[token]])
    target = fill.masks[0].target
    if target is None:
        assert found["hidden"] == "“water” is no single token of this model"
    else:
        assert found["score"] == pytest.approx(math.exp(target.logprob), rel=1e-4)
        assert f" {target.rank}: " in found["hidden"] or (target.rank == 1 and "the best guess" in found["hidden"])


def test_masks_that_are_written_are_filled_too(tiny: Browser, fp32: Predictor) -> None:
    found = write(tiny, "the <mask> reads [MASK] book")
    assert_same(found, fp32.fill(["the [MASK] reads [MASK] book"])[0], "fp32")


@pytest.mark.parametrize("top_k", [1, 20])
def test_as_many_guesses_are_shown_as_are_asked_for(tiny: Browser, fp32: Predictor, top_k: int) -> None:
    write(tiny, "the [MASK] reads")
    choose = (
        f"(it => {{ it.value = {top_k}; it.dispatchEvent(new Event('change')); }})(document.querySelector('#top-k'))"
    )
    found = tiny.answered(lambda: tiny.run(choose))
    expected = fp32.fill(["the [MASK] reads"], top_k=top_k)[0].masks[0].predictions
    assert [mask["tokens"] for mask in found["masks"]] == [[visible(each.token_str) for each in expected]]


def test_percentages_are_those_of_the_probabilities(tiny: Browser) -> None:
    found = write(tiny, "the [MASK] reads")["masks"][0]
    for score, percent in zip(found["scores"], found["percents"], strict=True):
        assert percent == ("< 0.1\u00a0%" if score < 0.0005 else f"{100 * score:.1f}\u00a0%")
    entropy = found["entropy"]
    digits = 1 if math.exp(entropy) < 100 else 0
    said = f"Entropy {entropy:.2f} nats: as unsure as between {math.exp(entropy):,.{digits}f} equally likely tokens"
    assert found["unsure"] == said


def test_a_word_stays_hidden_while_the_rest_is_written(tiny: Browser, fp32: Predictor) -> None:
    write(tiny, "the child reads")
    tiny.answered(lambda: tiny.hide("child"))
    tiny.run("document.querySelector('#sentence').setSelectionRange(0, 0), document.querySelector('#sentence').focus()")
    found = tiny.answered(lambda: tiny.call("Input.insertText", text="and "))
    assert_same(found, fp32.fill(["and the [MASK] reads"])[0], "fp32")


def test_a_text_longer_than_the_model_is_cut_around_its_masks_as_python_does(tiny: Browser, fp32: Predictor) -> None:
    for before, after in ((200, 3), (3, 200), (150, 150)):
        text = " ".join(["water flows"] * before + ["[MASK]"] + ["from the sea ."] * after)
        found = write(tiny, text)
        fill = fp32.fill([text])[0]
        assert fill.truncated
        assert "longer than the model" in found["status"]
        assert_same(found, fill, "fp32")
    very_long = "a🙂 " * 4000 + "[MASK]" + " b" * 20000  # cut before it is tokenized
    assert_same(write(tiny, very_long), fp32.fill([very_long])[0], "fp32")


def test_masks_too_far_apart_are_refused_in_a_line(tiny: Browser) -> None:
    found = write(tiny, "[MASK] " + "water " * 300 + "[MASK]")
    assert found["status"].startswith("The masks are too far apart")
    assert (found["masks"], found["filled"]) == ([], None)
    assert write(tiny, "   ")["status"] == "Write a sentence first."
    assert tiny.complaints == []


def test_nothing_leaves_this_machine(tiny: Browser, served_tiny: Served) -> None:
    write(tiny, "the [MASK] reads")
    assert tiny.requested
    assert all(address.startswith(served_tiny.address) for address in tiny.requested)
    names = {address.removeprefix(served_tiny.address) for address in tiny.requested}
    parts = {f"parts/{name}.gz" for name in ("wasm", "graph", "weights-0", "tokenizer", "tokenizer-config", "tokens")}
    assert names == {"", *parts}


def test_it_can_be_used_from_the_keyboard(tiny: Browser, fp32: Predictor) -> None:
    write(tiny, "the child reads every book")
    tiny.run("document.querySelector('#sentence').focus()")
    tiny.press("Tab")  # to the words, which are one stop
    for key in ("End", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        tiny.press(key)
    assert tiny.run("document.activeElement.textContent") == "every"
    found = tiny.answered(lambda: tiny.press("Enter"))
    assert_same(found, python_fills(fp32, "the child reads every book", ["every"]), "fp32")
    assert tiny.run("[document.activeElement.textContent, document.activeElement.ariaPressed]") == ["every", "true"]
    tiny.press("Tab")
    assert tiny.run("document.activeElement.id") == "top-k"


def test_whoever_cannot_see_it_is_told_what_is_what(tiny: Browser) -> None:
    write(tiny, "the child reads")
    tiny.answered(lambda: tiny.hide("child"))
    nodes = tiny.call("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if "role" in node}
    assert {("textbox", "Your sentence"), ("button", "child"), ("heading", "The blank")} <= named
    assert any(role == "combobox" and name.startswith("Guesses") for role, name in named if name)
    pressed = [
        node["name"]["value"] for node in nodes
        for about in node.get("properties", []) if about["name"] == "pressed" and about["value"]["value"] == "true"
    ]  # fmt: skip
    assert pressed == ["child"]
    assert any(role == "status" for role, _ in named)
    assert all(name for role, name in named if role in ("button", "textbox", "combobox"))


HOSTILE = [
    "<script>window.attacked = 1</script>",
    "<img src=x onerror='window.attacked = 1'>",
    "</textarea></pre><h1>Not the title</h1><style>main { display: none }</style>",
    "&lt;b&gt; &amp; \" ' ` ${7 * 7} $& $1",
    "\u202egnihtyreve sesrever siht\u2067",
    "w" * 4000,
    "Z͑ͫ̓a̴l̵g̶o",
    "\ufeff\u200b\u2060",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_stay_texts(tiny: Browser, fp32: Predictor, hostile: str) -> None:
    count = "document.querySelectorAll('script, img, style, h1, iframe').length"
    elements = tiny.run(count)
    text = f"{hostile} the [MASK] {hostile}"
    found = write(tiny, text)
    assert_same(found, fp32.fill([text])[0], "fp32")
    assert tiny.run(count) == elements
    assert not tiny.run("window.attacked")
    handlers = "[...document.querySelectorAll('*')].flatMap(it => it.getAttributeNames().filter(at => /^on/.test(at)))"
    assert tiny.run(handlers) == []
    assert not set("\u202e\u2067") & set(found["filled"])
    assert tiny.complaints == []


def test_half_a_character_is_refused_in_a_line(tiny: Browser) -> None:
    write(tiny, "the water")
    halve = (
        "(it => { it.value = 'the [MASK] \\ud800'; it.dispatchEvent(new Event('input')); })"
        "(document.querySelector('#sentence'))"
    )
    assert tiny.answered(lambda: tiny.run(halve))["status"].startswith("The sentence holds half a character")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen(tiny: Browser, width: int, dark: bool) -> None:
    tiny.show(width=width, dark=dark)
    for text in ("the [MASK] reads <mask> book", f"{'w' * 300} [MASK] {'well, ' * 80}"):
        write(tiny, text)
        found = tiny.run(
            "(() => { const root = document.documentElement, right = root.clientWidth + 0.5; return ["
            "root.scrollWidth - root.clientWidth,"
            "[...document.querySelectorAll('main *')].filter(it => it.getBoundingClientRect().right > right).length,"
            "[...document.querySelectorAll('button, select, summary')]"
            ".filter(it => it.getBoundingClientRect().height < 24).length]; })()"
        )
        assert found == [0, 0, 0]


def test_words_are_those_of_python(browser: Browser, tokenizer: Tokenizer) -> None:
    texts = [*(text for text, _ in SENTENCES), *HOSTILE, "a\u0301\u200db don't…\t\x00x\x85y\x1c z𠀀𠀁日本 \u0600a"]
    script = (files("maskedge.static_page") / "templates" / "words.js").read_text(encoding="utf-8")
    browser.call("Page.navigate", url="about:blank")
    words = f"{script}; return texts.map(text => wordSpans(text).map(span => text.slice(span.start, span.stop)));"
    found = browser.run(f"(texts => {{ {words} }})({json.dumps(texts)})")
    assert found == [[text[start:stop] for start, stop in word_spans(text)] for text in texts]


def altered(page: WrittenPage, directory: Path, alter: Callable[[dict[str, Any]], None]) -> str:
    """The address of a copy of a single-file page with other facts."""
    found = re.search(r'(?<=id="page">).*?(?=</script>)', html := page.path.read_text(encoding="utf-8"))
    assert found
    facts = json.loads(found[0])
    alter(facts)
    path = directory / "index.html"
    path.write_text(html[: found.start()] + json.dumps(facts) + html[found.end() :], encoding="utf-8")
    return path.as_uri()


ALTERED: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda facts: None, ""),
    (lambda facts: facts["golden"]["top_logprobs"][0].__setitem__(0, -9.5), "computes the model otherwise"),
    (lambda facts: facts["probes"][1]["ids"].append(7), "reads 1 of 8 test texts otherwise"),
]


@pytest.mark.parametrize(("alter", "notice"), ALTERED)
def test_a_browser_that_computes_otherwise_than_the_export_is_told(
    browser: Browser, small_page: WrittenPage, tmp_path: Path, alter: Callable[[dict[str, Any]], None], notice: str
) -> None:
    browser.open(altered(small_page, tmp_path, alter))
    assert browser.run("document.querySelector('#notice').hidden") == (not notice)
    assert notice in browser.run("document.querySelector('#notice').textContent")
    assert browser.run("document.querySelectorAll('article').length") == 1  # it answers all the same


def test_files_beside_the_page_want_a_web_server_and_it_says_so(browser: Browser, tiny_page: WrittenPage) -> None:
    browser.open(tiny_page.path.as_uri())
    assert "run python3 -m http.server in its directory" in browser.run("document.querySelector('#status').textContent")


def test_a_file_that_is_missing_is_named(browser: Browser, tiny_page: WrittenPage, tmp_path: Path) -> None:
    shutil.copytree(tiny_page.path.parent, tmp_path / "page")
    (tmp_path / "page" / "parts" / "graph.gz").unlink()
    served = Served(tmp_path / "page")
    try:
        browser.open(served.address)
    finally:
        served.close()
    status = "document.querySelector('#status').textContent"
    assert browser.run(status) == "The model could not be loaded: parts/graph.gz: 404"
