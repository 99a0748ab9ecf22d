"""The demo's page in a real browser: its numbers against the predictor's, its keys, hostile texts, narrow screens."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from served_pages import Served, shown_bars

from maskedge import Predictor
from maskedge.demo.examples import EXAMPLES, SURPRISING
from maskedge.demo.limits import MAX_CHARS
from maskedge.demo.views import percent

pytestmark = pytest.mark.slow

Visit = Callable[..., Page]

HOSTILE = ['<img src=x onerror="window.hit=1">', "<script>window.hit=1</script>", "${window.hit=1} {{hit}} `\\\\"]


def words(page: Page) -> Locator:
    return page.locator("#words button")


def write(page: Page, text: str) -> None:
    """Types a sentence, and waits for its words."""
    page.get_by_label("A sentence of yours").first.fill(text)
    page.wait_for_function(
        "text => document.querySelector('#words').textContent.trim() === text.trim()", arg=text, timeout=10_000
    )


def masks(page: Page) -> Locator:
    return page.locator("#filled .mlm-masks > section")


def open_score(page: Page) -> None:
    """Opens the second tab as a person does, who needs a moment until the first click there.

    Gradio draws a tab when it is first opened, and a frame later puts what the tab was made with into it, over an
    answer that came before.
    """
    page.get_by_role("tab", name="Score").click()
    expect(page.locator("#scored .mlm-text")).to_be_visible()
    page.wait_for_timeout(300)


def bars(place: Locator) -> list[tuple[str, str]]:
    return shown_bars(place.inner_html())


def predicted(tiny: Predictor, text: str, top_k: int = 3) -> list[list[tuple[str, str]]]:
    """What the page is to show for each mask."""
    (fill,) = tiny.fill([text], top_k=top_k)
    return [[(each.token_str, percent(each.score)) for each in mask.predictions] for mask in fill.masks]


def shows(page: Page, expected: list[list[tuple[str, str]]]) -> None:
    """Waits until the page has these predictions."""
    expect(masks(page)).to_have_count(len(expected))
    for number, each in enumerate(expected):
        expect(masks(page).nth(number).locator(".mlm-share")).to_have_text([share for _, share in each])
        assert bars(masks(page).nth(number)) == each


def test_a_click_masks_a_word_and_the_next_puts_it_back(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows from the sea")
    expect(masks(page)).to_have_count(0)
    words(page).nth(1).click()
    expect(words(page).nth(1)).to_have_attribute("aria-pressed", "true")
    shows(page, predicted(tiny, "the [MASK] flows from the sea"))
    words(page).nth(5).click()
    shows(page, predicted(tiny, "the [MASK] flows from the [MASK]"))
    words(page).nth(1).click()
    shows(page, predicted(tiny, "the water flows from the [MASK]"))
    words(page).nth(5).click()
    expect(page.locator("#filled")).to_contain_text("Click a word")


def test_an_example_is_there_with_its_word_masked(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    page.get_by_role("button", name=EXAMPLES[2].title).click()
    expect(page.get_by_label("A sentence of yours").first).to_have_value(EXAMPLES[2].text)
    shows(page, predicted(tiny, EXAMPLES[2].text.replace(EXAMPLES[2].word, "[MASK]")))
    page.wait_for_timeout(500)  # nothing that comes later unmasks it
    assert page.locator("#words button[aria-pressed=true]").all_inner_texts() == [EXAMPLES[2].word]


def test_quick_clicks_all_count(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows from the sea")
    page.evaluate("[1, 3, 5, 3, 0].forEach(word => document.querySelectorAll('#words button')[word].click())")
    shows(page, predicted(tiny, "[MASK] [MASK] flows from the [MASK]"))


def test_masked_words_stay_masked_while_others_are_written(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows")
    words(page).nth(1).click()
    write(page, "the water flows from the sea")
    shows(page, predicted(tiny, "the [MASK] flows from the sea"))
    write(page, "all the [MASK] flows from the sea")
    shows(page, predicted(tiny, "all the [MASK] flows from the sea"))


def test_as_many_predictions_as_are_wanted(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows")
    words(page).nth(1).click()
    page.get_by_label("How many predictions").fill("25")
    shows(page, predicted(tiny, "the [MASK] flows", top_k=25))


def test_the_filled_sentence_and_how_sure_the_model_is(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows")
    words(page).nth(1).click()
    (fill,) = tiny.fill(["the [MASK] flows"], top_k=400)
    best = fill.masks[0].predictions[0].token_str
    expect(page.locator("#filled mark")).to_have_text(best.removeprefix("##"))
    filled = f"the {best} flows".replace(" ##", "")
    expect(page.locator("#filled .mlm-filled")).to_have_text(filled)
    said = masks(page).locator(".mlm-sure").inner_text()
    choices = re.search(r"between ([\d,.]+) equally", said)
    assert choices
    assert float(choices[1].replace(",", "")) == pytest.approx(2.718281828 ** fill.masks[0].entropy, rel=0.01)
    ranked = [each.token_str for each in fill.masks[0].predictions]
    assert f"its {ranked.index('water') + 1}" in said or "its first guess" in said


def test_the_words_that_matter_are_the_predictor_s(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows from the sea")
    words(page).nth(1).click()
    influence = tiny.influence("the [MASK] flows from the sea")
    shown = page.locator("#influence .mlm-text > span")
    expect(shown).to_have_count(len(influence.words))
    titles = [shown.nth(number).get_attribute("title") for number in range(len(influence.words))]
    assert titles == [f"{word.change:+.2f} nats" for word in influence.words]
    kinds = [shown.nth(number).get_attribute("class") for number in range(len(influence.words))]
    assert kinds == ["mlm-for" if word.change >= 0 else "mlm-against" for word in influence.words]


def test_attention_is_shown_of_a_layer_and_head_and_a_model_without_says_why(
    visit: Visit, served: Served, tiny: Predictor
) -> None:
    page = visit(served)
    write(page, "the water flows from the sea")
    words(page).nth(1).click()
    attention = tiny.attend("the [MASK] flows from the sea")
    mask = attention.tokens.index("[MASK]")
    page.locator("#layer").get_by_label("1", exact=True).check()
    page.locator("#head").get_by_label("3", exact=True).check()
    expect(page.locator("#attention")).to_contain_text("layer 1, head 3", ignore_case=True)
    row = attention.weights[0, 2, mask]
    assert bars(page.locator("#attention"))[0] == (attention.tokens[row.argmax()], percent(float(row.max())))
    cells = page.locator("#attention tbody td")
    found = [cells.nth(number).get_attribute("style") for number in range(cells.count())]
    assert found == [f"--weight:{weight:.3f}" for weight in attention.weights[0, 2].ravel()]
    page.locator("#model label").nth(1).click()
    expect(page.get_by_text("comes without a graph of its attention")).to_be_visible()
    expect(page.locator("#attention section")).to_have_count(0)
    expect(page.locator("#layer")).to_have_count(0)


def test_with_several_masks_one_is_chosen_for_a_closer_look(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "the water flows from the sea")
    words(page).nth(1).click()
    expect(page.locator("#mask")).to_have_count(0)
    words(page).nth(5).click()
    page.locator("#mask").get_by_label("2: sea").check()
    influence = tiny.influence("the [MASK] flows from the [MASK]", mask=1)
    expect(page.locator("#influence .mlm-hint")).to_contain_text(percent(2.718281828459045**influence.logprob))


def test_a_score_colours_each_word_by_its_surprise(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    open_score(page)
    box = page.locator("#text-to-score textarea")
    assert box.input_value() == SURPRISING
    box.fill("the water flows from the sea.")
    page.get_by_role("button", name="Score", exact=True).click()
    (score,) = tiny.score(["the water flows from the sea."])
    expect(page.locator("#scored .mlm-figures b").first).to_have_text(f"{score.pseudo_perplexity:,.1f}")
    shown = page.locator("#scored .mlm-text > span")
    titles = [shown.nth(number).get_attribute("title") for number in range(shown.count())]
    assert titles == [percent(2.718281828459045**word.logprob) for word in score.words]
    with page.expect_request("**/ask/score"):  # of the other model
        page.locator("#model label").nth(1).click()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_cannot_be_more_than_text(visit: Visit, served: Served, text: str) -> None:
    page = visit(served)
    write(page, text)
    for number in (1, 4):
        words(page).nth(number).click()
    expect(masks(page)).to_have_count(2)
    expect(page.locator("#influence .mlm-text")).to_contain_text("hit")
    expect(page.locator("#attention section")).to_be_visible()
    open_score(page)
    page.locator("#text-to-score textarea").fill(text)
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#scored .mlm-text > span")).not_to_have_count(0)
    expect(page.locator("#scored .mlm-text")).to_contain_text("hit")
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_long_text_is_refused_in_a_line(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    write(page, "a" * MAX_CHARS)
    page.get_by_label("A sentence of yours").first.fill("")
    page.keyboard.insert_text("a " * 5_000_000)
    expect(page.locator("#filled [role=alert]")).to_contain_text(f"at most {MAX_CHARS:,} characters")
    write(page, "the water flows")
    words(page).nth(1).click()
    shows(page, predicted(tiny, "the [MASK] flows"))


def test_a_server_that_does_not_answer_is_named_until_it_does(
    visit: Visit, served: Served, tiny: Predictor, complaints: list[str]
) -> None:
    page = visit(served)
    write(page, "the water flows")
    page.route("**/ask/fill", lambda asked: asked.abort())
    words(page).nth(1).click()
    expect(page.get_by_role("alert")).to_have_text("The server does not answer.")
    page.unroute("**/ask/fill")
    words(page).nth(2).click()
    shows(page, predicted(tiny, "the [MASK] [MASK]"))
    expect(page.get_by_role("alert")).to_have_count(0)
    assert complaints.pop().startswith("Failed to load resource")


def test_the_keyboard_alone_is_enough(visit: Visit, served: Served, tiny: Predictor) -> None:
    page = visit(served)
    page.get_by_label("A sentence of yours").first.focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("the water flows")
    expect(words(page)).to_have_text(["the", "water", "flows"])  # "the water f" has three words too, for a moment
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "water"
    page.keyboard.press("Space")
    shows(page, predicted(tiny, "the [MASK] flows"))
    assert page.evaluate("document.activeElement.textContent") == "water"
    expect(page.locator("#filled")).to_have_attribute("aria-live", "polite")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    shows(page, predicted(tiny, "the [MASK] [MASK]"))
    page.get_by_role("tab", name="Fill").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#text-to-score")).to_be_visible()


NAMELESS = """() => [...document.querySelectorAll("input, textarea, select, button, [role=img], [role=group]")]
  .filter(one => one.offsetParent && !one.closest("[aria-hidden=true]"))
  .filter(one => !(one.ariaLabel || one.textContent.trim() || one.title || one.ariaLabelledByElements?.length
    || [...(one.labels || [])].some(label => label.textContent.trim())))
  .map(one => one.outerHTML.slice(0, 200))
"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_everything_has_a_name(
    visit: Visit, served: Served, width: int, scheme: str
) -> None:
    page = visit(served, width, color_scheme=scheme)
    write(page, f"the water {'x' * 300} flows from the sea " + "the water flows " * 12)
    words(page).nth(1).click()
    expect(page.locator("#attention section")).to_be_visible()
    for tab in ("Score", "Files", "Fill"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") == width, tab
        assert page.evaluate(NAMELESS) == [], tab


def test_a_file_comes_back_scored_and_is_gone_when_its_visitor_is(
    visit: Visit, served: Served, tiny: Predictor, tmp_path: Path
) -> None:
    import pyarrow
    import pyarrow.parquet

    texts = ["the water flows from the sea .", "every child"]
    pyarrow.parquet.write_table(pyarrow.table({"sentence": texts}), tmp_path / "mine.parquet")
    before = set(served.visitors_files)
    page = visit(served)
    page.get_by_role("tab", name="Files").click()
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "mine.parquet")
    page.get_by_label("Its column with the texts").fill("sentence")
    page.locator("#score-file").click()
    expect(page.locator("#figures")).to_contain_text("2 of 2", timeout=30_000)
    with page.expect_download() as waiting:
        page.locator("#results").get_by_role("link").first.click()
    found = pyarrow.parquet.read_table(waiting.value.path())
    assert found["sentence"].to_pylist() == texts
    assert found["mlm_pll"].to_pylist() == pytest.approx([score.pll for score in tiny.score(texts)], abs=1e-4)
    assert {path.name for path in set(served.visitors_files) - before} == {
        "mine.scored.parquet", "mine.report.html",
    }  # fmt: skip
    page.context.close()
    wait_until(lambda: set(served.visitors_files) <= before)


def wait_until(true: Callable[[], Any], seconds: float = 15) -> None:
    import time

    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    assert true()
