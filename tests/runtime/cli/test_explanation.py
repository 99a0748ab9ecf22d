"""Explanations, against figures computed from the graph and the tokenizer without the runtime; and their pictures."""

import math
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image
from tokenizers import Tokenizer

from maskedge import Explanation, Predictor, TextError, explain
from maskedge.bundle.engine import graph_inputs
from maskedge.explanation import explain_spans

pytestmark = pytest.mark.slow

RunMlm = Callable[..., Any]
Distribution = Callable[[list[int], int], npt.NDArray[np.float64]]

TEXT, WORD = "The water flows from the sea.", "from"


@pytest.fixture(scope="module")
def tokenizer(bundle: Path) -> Tokenizer:
    return Tokenizer.from_file(str(bundle / "tokenizer.json"))


@pytest.fixture(scope="module")
def distribution(bundle: Path) -> Distribution:
    """Log-probabilities of the whole vocabulary at a position, [vocabulary], nats, straight from onnxruntime."""
    session = onnxruntime.InferenceSession(str(bundle / "onnx" / "fp32.onnx"))

    def ask(ids: list[int], position: int) -> npt.NDArray[np.float64]:
        vocabulary = np.arange(400)
        inputs = graph_inputs([ids], [[position]], vocabulary[np.newaxis, np.newaxis], top_k=0)
        (logprobs,) = session.run(["target_logprobs"], inputs)
        return np.asarray(logprobs[0, 0], np.float64)

    return ask


@pytest.fixture(scope="module")
def explanation(predictor: Predictor) -> Explanation:
    return explain(predictor, TEXT, word=WORD, top_k=4)


def test_the_steps_before_the_model(explanation: Explanation, tokenizer: Tokenizer) -> None:
    assert explanation.text == TEXT
    assert explanation.masked_text == "The water flows [MASK] the sea."
    encoding = tokenizer.encode(explanation.masked_text)
    assert [token.token for token in explanation.tokens] == encoding.ids
    assert [token.token_str for token in explanation.tokens] == encoding.tokens
    assert [token.position for token in explanation.tokens] == list(range(len(encoding.ids)))
    assert [token.token_str for token in explanation.tokens if token.masked] == ["[MASK]"]
    assert explanation.masks[0].position == encoding.tokens.index("[MASK]")


def test_the_figures_are_the_softmax_over_the_vocabulary(
    explanation: Explanation, tokenizer: Tokenizer, distribution: Distribution
) -> None:
    (mask,) = explanation.masks
    logprobs = distribution(tokenizer.encode(explanation.masked_text).ids, mask.position)
    assert np.exp(logprobs).sum() == pytest.approx(1, abs=1e-5)
    best = np.argsort(-logprobs)[:4]
    assert [candidate.token for candidate in mask.candidates] == best.tolist()
    shown = np.exp(logprobs[best])
    for candidate, expected in zip(mask.candidates, best.tolist(), strict=True):
        assert candidate.logprob == pytest.approx(logprobs[expected], abs=1e-5)
        assert candidate.probability == pytest.approx(math.exp(logprobs[expected]), abs=1e-6)
        assert candidate.logit_gap == pytest.approx(logprobs[expected] - logprobs[best[0]], abs=1e-5)
        assert candidate.share == pytest.approx(math.exp(logprobs[expected]) / shown.sum(), abs=1e-6)
    assert mask.others == 396
    assert mask.others_probability == pytest.approx(1 - shown.sum(), abs=1e-5)
    assert mask.entropy == pytest.approx(-(np.exp(logprobs) * logprobs).sum(), abs=1e-4)


def test_the_masked_word_is_rated(explanation: Explanation, tokenizer: Tokenizer, distribution: Distribution) -> None:
    (mask,) = explanation.masks
    logprobs = distribution(tokenizer.encode(explanation.masked_text).ids, mask.position)
    word = logprobs[tokenizer.token_to_id(WORD)]
    assert mask.word == WORD
    assert mask.word_logprob == pytest.approx(word, abs=1e-5)
    assert mask.word_rank == 1 + (logprobs > word).sum()


def test_the_filled_sentence_holds_the_decoded_word(predictor: Predictor) -> None:
    text = "The [MASK] flows from <mask> sea, it's said."
    explanation = explain(predictor, text)
    ids = [token.token for token in explanation.tokens]
    for mask in explanation.masks:
        ids[mask.position] = mask.candidates[0].token
    assert explanation.filled_text == predictor.decoder.text(ids, skip_special_tokens=True)
    for mask in explanation.masks:
        start, stop = mask.filled_span
        assert explanation.filled_text[start:stop] == mask.candidates[0].token_str.strip().removeprefix("##")


@pytest.mark.parametrize(
    ("text", "word", "masked"),
    [
        ("A cat, a Cat.", "Cat", "A cat, a [MASK]."),
        ("A cat, a Cat.", "CAT", "A [MASK], a Cat."),
        ("category cat", "cat", "category [MASK]"),
        ("1+1 (sic)", "(sic)", "1+1 [MASK]"),
    ],
)
def test_the_word_is_masked_where_it_stands_alone(predictor: Predictor, text: str, word: str, masked: str) -> None:
    assert explain(predictor, text, word=word).masked_text == masked


def test_several_parts_of_a_text_are_masked_each_with_the_word_that_stood_there(
    predictor: Predictor, tokenizer: Tokenizer
) -> None:
    text = "The water [MASK] from the river."
    spans = [(4, 9), (17, 21)]
    explanation = explain_spans(predictor, text, spans, top_k=3)
    assert explanation.text == text
    assert explanation.masked_text == "The [MASK] [MASK] [MASK] the river."
    assert [mask.word for mask in explanation.masks] == ["water", None, "from"]
    (fill,) = predictor.fill([explanation.masked_text], top_k=400)
    for word, mask, found in zip(("water", None, "from"), explanation.masks, fill.masks, strict=True):
        ids = tokenizer.encode(word, add_special_tokens=False).ids if word else []
        ranks = [rank for rank, each in enumerate(found.predictions, start=1) if [each.token] == ids]
        assert ([] if mask.word_rank is None else [mask.word_rank]) == ranks


def test_a_part_that_cuts_through_a_mask_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="overlap"):
        explain_spans(predictor, "The [MASK] flows", [(5, 9)])


def test_what_it_explains_of_no_parts_is_the_text_as_it_is(predictor: Predictor) -> None:
    text = "The <mask> flows"
    assert explain_spans(predictor, text, []) == explain(predictor, text)


@pytest.mark.parametrize(("text", "word"), [("a cat", "dog"), ("category", "cat"), ("a cat", ""), ("a [MASK]", "a")])
def test_a_word_that_cannot_be_masked_is_refused(predictor: Predictor, text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word or "word"):
        explain(predictor, text, word=word)


def test_what_cannot_be_explained_is_refused(predictor: Predictor) -> None:
    with pytest.raises(TextError, match="No mask_token"):
        explain(predictor, "no mask")
    with pytest.raises(ValueError, match="top_k is 0"):
        explain(predictor, "the [MASK]", top_k=0)


def test_the_command_shows_every_step(run_mlm: RunMlm, explanation: Explanation) -> None:
    ran = run_mlm("explain", TEXT, "--word", WORD, "--precision", "fp32", "-k", "4")
    assert (ran.returncode, ran.stderr) == (0, "")
    for token in explanation.tokens:
        assert token.token_str in ran.stdout
        assert str(token.token) in ran.stdout
    for candidate in explanation.masks[0].candidates:
        figures = [f"{candidate.logit_gap:.3f}", f"{candidate.logprob:.3f}", f"{candidate.probability:.4f}"]
        assert " ".join(figures) in " ".join(ran.stdout.split())
    for shown in (TEXT, explanation.masked_text, explanation.filled_text):
        assert shown in ran.stdout


def test_the_command_reads_standard_input(run_mlm: RunMlm) -> None:
    assert "the [MASK] water" in run_mlm("explain", "-", stdin="the [MASK] water\n").stdout


def test_an_svg_holds_every_word_as_text(run_mlm: RunMlm, tmp_path: Path, explanation: Explanation) -> None:
    arguments = ("explain", TEXT, "--word", WORD, "--precision", "fp32", "-k", "4", "--image")
    ran = run_mlm(*arguments, tmp_path / "first.svg")
    assert (ran.returncode, ran.stderr) == (0, f"Wrote {tmp_path}/first.svg\n")
    texts = texts_of(tmp_path / "first.svg")
    for token in explanation.tokens:
        assert {token.token_str, str(token.token)} <= texts
    assert {f"{candidate.probability:.2%}" for candidate in explanation.masks[0].candidates} <= texts
    assert {"Input sentence", "Masked sentence", "Filled sentence", "flows"} <= texts
    run_mlm(*arguments, tmp_path / "second.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def texts_of(path: Path) -> set[str]:
    root = ElementTree.parse(path).getroot()
    return {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_png_is_drawn_and_says_what_it_shows(run_mlm: RunMlm, tmp_path: Path, explanation: Explanation) -> None:
    path = tmp_path / "picture.PNG"
    assert run_mlm("explain", TEXT, "--word", WORD, "--precision", "fp32", "--image", path).returncode == 0
    assert struct.unpack(">II", path.read_bytes()[16:24]) > (1000, 1000)
    with Image.open(path) as image:
        assert explanation.masked_text in image.info["Description"]
        assert explanation.filled_text in image.info["Description"]
        colours = {colour: count for count, colour in image.convert("RGB").getcolors(1 << 20) or ()}
    assert colours[(255, 255, 255)] > 0.5 * sum(colours.values())
    assert colours[(0x24, 0x56, 0xC9)] > 5000  # the mask's box and the best candidate's bar


@pytest.mark.parametrize(
    "text", ["costs $5 or $6 [MASK]", "日本語 [MASK] 🙂", "<b>&amp; [MASK] \x07 \\alpha_1^2", "x" * 300 + "[MASK]"]
)
def test_any_characters_can_be_drawn(run_mlm: RunMlm, tmp_path: Path, text: str) -> None:
    for name in ("picture.svg", "picture.png"):
        ran = run_mlm("explain", text, "--image", tmp_path / name)
        assert (ran.returncode, ran.stderr) == (0, f"Wrote {tmp_path / name}\n")
    ElementTree.parse(tmp_path / "picture.svg")


def test_a_picture_that_cannot_be_written_exits_1(run_mlm: RunMlm, tmp_path: Path) -> None:
    path = tmp_path / "none" / "picture.png"
    ran = run_mlm("explain", "the [MASK]", "--image", path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"Error: cannot write {path}: No such file or directory\n"
