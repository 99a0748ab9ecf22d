"""The page: what stands where, and which question each thing asks."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr

from maskedge.demo.examples import EXAMPLES, SURPRISING
from maskedge.demo.file_questions import FileQuestions
from maskedge.demo.limits import MAX_CHARS, MAX_FILE, MAX_FILES_WAITING, MAX_ROWS, MAX_TOP_K
from maskedge.demo.questions import ALL_HEADS, SHOWN_AT_FIRST, Questions
from maskedge.demo.scored_files import KINDS, missing_batch
from maskedge.demo.views import notice

__all__ = ["SCRIPT", "build_page"]

TITLE = "maskedge"
ROOM = MAX_CHARS + 1
"""So many characters of a text are taken that it can be told to be too long, and no more."""
PROMISE = f"Each of the first {MAX_ROWS:,} rows is scored, or its [MASK] filled; you get the file back with a report."
TROUBLE = '<p class="mlm-notice mlm-error" role="alert" hidden></p>'


def _template(name: str) -> str:
    return (files("maskedge.demo") / "templates" / name).read_text(encoding="utf-8")


SCRIPT = f"<script>{_template('ask.js')}</script>"
"""For the page's head: how it asks `routes`."""


def build_page(ask: Questions, ask_of_files: FileQuestions) -> gr.Blocks:
    """The page of the models that questions are asked of, of which the first is chosen."""
    page = gr.Blocks(title=TITLE, analytics_enabled=False)
    with page:
        with gr.Row(elem_classes="mlm-header"):
            _html(f"<h1>{TITLE}</h1><p>Masked language models on a plain CPU</p>")
            names = list(ask.models)
            model = gr.Radio(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
        _html(TROUBLE, "trouble")
        with gr.Tabs():
            with gr.Tab("Fill", id="fill"):
                _fill_tab(ask, model)
            with gr.Tab("Score", id="score"):
                _score_tab(ask, model)
            with gr.Tab("Files", id="files"):
                _files_tab(ask_of_files, model)
        page.unload(ask_of_files.leave)
    page.queue(max_size=MAX_FILES_WAITING, default_concurrency_limit=1)
    return page


@dataclass(frozen=True, slots=True)
class _FillTab:
    """What of the first tab changes."""

    text: gr.Textbox
    words: gr.HTML
    filled: gr.HTML
    top_k: gr.Number
    mask: gr.Radio
    influence: gr.HTML
    layer: gr.Radio
    head: gr.Radio
    attention: gr.HTML
    missing: gr.HTML
    """Why there is no attention."""


def _fill_tab(ask: Questions, model: gr.Radio) -> None:
    name = str(model.value)
    said, _, words_said, filled_said, masks, layers, heads, why = ask.example(0, SHOWN_AT_FIRST, name)
    examples = _example_buttons(ask)
    with gr.Row(elem_classes="mlm-columns"):
        with gr.Column(min_width=320):
            text = _textbox(said, "sentence", lines=2, max_lines=6)
            _html("<p class='mlm-hint'>Click a word to mask it, and again to put it back.</p>")
            words = gr.HTML(words_said, html_template="", js_on_load=_template("words.js"), elem_id="words")
            filled = _html(filled_said, "filled")
            top_k = gr.Number(
                SHOWN_AT_FIRST, label="How many predictions", minimum=1, maximum=MAX_TOP_K, precision=0, elem_id="top-k"
            )
        with gr.Column(min_width=320):
            mask = _radio(masks, "Look closer at mask", "mask")
            influence = _html(ask.influence(words_said, name, 0), "influence")
            with gr.Row(elem_classes="mlm-heads"):
                layer, head = _radio(layers, "Layer", "layer"), _radio(heads, "Head", "head")
            attention = _html(ask.attention(words_said, name, 0, layers["value"], ALL_HEADS), "attention")
            missing = _html(why)
    _connect(_FillTab(text, words, filled, top_k, mask, influence, layer, head, attention, missing), model, examples)


def _connect(tab: _FillTab, model: gr.Radio, examples: list[tuple[int, gr.Button]]) -> None:
    """Which question each thing asks, and where its answers go."""
    filled = [tab.words, tab.filled, tab.mask, tab.layer, tab.head, tab.missing]
    fill = _question("fill", "filled", [tab.text, tab.words, model, tab.top_k, tab.mask], filled)
    examine = _question("influence", "influence", [tab.words, model, tab.mask], [tab.influence])
    look = _question("attention", "attention", [tab.words, model, tab.mask, tab.layer, tab.head], [tab.attention])
    # Gradio's `input` is told of keys only, not of what is pasted, deleted or swiped; `change` is.
    changed = [gr.on([tab.text.change, tab.words.click, tab.top_k.change, model.input], **fill)]
    for number, button in examples:
        example = _question("example", "filled", [tab.top_k, model], [tab.text, model, *filled], number)
        changed.append(button.click(**example))
    for each in changed:
        each.then(**examine)
        each.then(**look)
    tab.mask.input(**examine)
    gr.on([tab.mask.input, tab.layer.input, tab.head.input], **look)


def _example_buttons(ask: Questions) -> list[tuple[int, gr.Button]]:
    """A button for each example whose model is there."""
    offered = [(number, each) for number, each in enumerate(EXAMPLES) if each.model in (None, *ask.models)]
    with gr.Row(elem_classes="mlm-examples"):
        _html("<span>Try</span>")
        return [(number, gr.Button(each.title, size="sm", min_width=0)) for number, each in offered]


def _score_tab(ask: Questions, model: gr.Radio) -> None:
    with gr.Row(elem_classes="mlm-columns"):
        with gr.Column(min_width=320):
            text = _textbox(SURPRISING, "text-to-score", lines=3, max_lines=12)
            button = gr.Button("Score", variant="primary", elem_id="score")
        with gr.Column(min_width=320):
            found = _html(ask.score(SURPRISING, model.value), "scored")
    gr.on([button.click, text.submit, model.change], **_question("score", "scored", [text, model], [found]))


def _files_tab(ask: FileQuestions, model: gr.Radio) -> None:
    if why := missing_batch():
        _html(notice(why))
        return
    with gr.Row(elem_classes="mlm-columns"):
        with gr.Column(min_width=320):
            label = f"A file of {', '.join(KINDS)}, {MAX_FILE >> 20} MB at most"
            upload = gr.File(label=label, file_types=list(KINDS), height=150, elem_id="upload")
            column = gr.Textbox("text", label="Its column with the texts", max_lines=1, elem_id="column")
            lines = gr.Textbox(label="Or lines, a sentence each", lines=4, max_lines=10, elem_id="lines")
            button = gr.Button("Score", variant="primary", elem_id="score-file")
        with gr.Column(min_width=320):
            figures = _html(notice(PROMISE), "figures")
            results = gr.File(
                label="To download", file_count="multiple", interactive=False, visible=False, elem_id="results"
            )
            remove = gr.Button("Remove my files", visible=False, elem_id="remove")
    button.click(
        ask.score_file, [upload, lines, column, model], [figures, results, upload, remove], api_name="score_file",
        show_progress_on=figures,
    )  # fmt: skip
    remove.click(ask.remove, None, [figures, results, remove], queue=False, api_visibility="private")


def _textbox(value: str, name: str, *, lines: int, max_lines: int) -> gr.Textbox:
    return gr.Textbox(
        value, label="A sentence of yours", lines=lines, max_lines=max_lines, max_length=ROOM, elem_id=name
    )


def _html(value: str, name: str | None = None) -> gr.HTML:
    """HTML in the page's own style."""
    return gr.HTML(value, elem_id=name, apply_default_css=False, js_on_load=None)


def _radio(settings: dict[str, Any], label: str, name: str) -> gr.Radio:
    """The radio buttons of what an update of them says."""
    kept = {key: value for key, value in settings.items() if not key.startswith("__")}
    return gr.Radio(label=label, elem_id=name, **kept)


def _question(question: str, place: str, asked: list[Any], answered: list[Any], *first: object) -> dict[str, Any]:
    """An event that asks a question of `routes` about a place of the page, with values of its own before the page's."""
    script = f"(...values) => ask({json.dumps(question)}, {json.dumps(place)}, [...{json.dumps(first)}, ...values])"
    return {"fn": None, "inputs": asked, "outputs": answered, "js": script}
