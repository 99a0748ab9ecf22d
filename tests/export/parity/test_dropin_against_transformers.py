"""The drop-in call and transformers' own pipeline, on the same checkpoints: the same answers, whatever is drawn.

The tests draw a few examples of each; MASKEDGE_EXAMPLES=5000 draws as many, other ones each time.
"""

import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from maskedge import Predictor, TextError, pipeline
from maskedge_export.bundles.export import ExportOptions, export_bundle

pytestmark = pytest.mark.slow

EXAMPLES = os.environ.get("MASKEDGE_EXAMPLES")
TIE = 1e-6
"""Scores so close are one: torch and onnxruntime add in different orders."""
VOCABULARIES = Path(__file__).parents[4] / "shared" / "vocab"

Candidates = list[dict[str, Any]]

drawn = settings(
    max_examples=int(EXAMPLES or 50),
    derandomize=EXAMPLES is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

WORDS = ["the", "water", "Children", "unbelievable", "zebras", "don't", "1984", "U.S.", "naïve", "東京", "x", "…", "🙂"]
MARKS = [".", ",", " ", "  ", "'s", "-", "\n", "(", '"', "?"]
SPECIALS = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "<pad>", "<s>", "</s>", "<unk>"]
ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
PIECES = st.one_of(st.sampled_from(WORDS), st.sampled_from(MARKS), st.sampled_from(SPECIALS), ODD)
TARGETS = st.lists(st.one_of(st.sampled_from([*WORDS, "##s", "Ġthe", "▁the", "[SEP]", "</s>"]), ODD), max_size=5)


@dataclass(frozen=True)
class Contenders:
    """One checkpoint as both call it."""

    ours: Predictor
    theirs: Any

    @property
    def mask(self) -> str:
        return str(self.theirs.tokenizer.mask_token)

    @property
    def vocab_size(self) -> int:
        return self.ours.bundle.manifest.vocab_size

    def fits(self, text: str) -> bool:
        return len(self.theirs.tokenizer(text)["input_ids"]) <= self.ours.encoder.max_length


@pytest.fixture(scope="module")
def contenders(checkpoint: Path, fp32_bundle: Path) -> Contenders:
    theirs = transformers.pipeline("fill-mask", model=str(checkpoint), dtype=torch.float32, device="cpu")
    return Contenders(pipeline("fill-mask", model=fp32_bundle), theirs)


@st.composite
def masked_texts(draw: st.DrawFn, *, least: int = 1, most: int = 3) -> str:
    """Words, marks and oddities with `{mask}` between them, with and without blanks."""
    pieces = draw(st.lists(PIECES, max_size=10)) + ["\ue000"] * draw(st.integers(least, most))
    return draw(st.sampled_from([" ", " ", ""])).join(draw(st.permutations(pieces)))


def drawn_texts(data: st.DataObject, both: Contenders, **masks: int) -> list[str]:
    texts = data.draw(st.lists(masked_texts(**masks), min_size=1, max_size=4))
    # the other mask's spelling is a mask to us alone
    assume(not any(spelling in text for text in texts for spelling in ("[MASK]", "<mask>")))
    texts = [text.replace("\ue000", both.mask) for text in texts]
    assume(all(map(both.fits, texts)))
    return texts


# What is answered


@drawn
@given(data=st.data())
def test_texts_have_the_same_candidates(contenders: Contenders, data: st.DataObject) -> None:
    texts = drawn_texts(data, contenders)
    top_k = data.draw(st.one_of(st.none(), st.integers(0, 8), st.just(contenders.vocab_size)))
    for text in texts:
        assert_same(contenders.ours(text, top_k=top_k), contenders.theirs(text, top_k=top_k))


@drawn
@given(data=st.data())
def test_lists_and_generators_have_the_same_shape(contenders: Contenders, data: st.DataObject) -> None:
    texts = drawn_texts(data, contenders)
    theirs = contenders.theirs(texts)
    assert_same(contenders.ours(texts), theirs)
    assert_same(contenders.ours(texts, batch_size=2), theirs)
    assert_same(list(contenders.ours(text for text in texts)), list(contenders.theirs(text for text in texts)))


@drawn
@given(data=st.data(), targets=TARGETS, top_k=st.one_of(st.none(), st.integers(0, 1000)))
def test_targets_have_the_same_candidates_and_warnings(
    contenders: Contenders, data: st.DataObject, targets: list[str], top_k: int | None
) -> None:
    (text, *_) = drawn_texts(data, contenders)
    with logged("maskedge.targets") as ours:
        mine = outcome(contenders.ours, text, targets=targets, top_k=top_k)
    with logged("transformers.pipelines.fill_mask") as theirs:
        other = outcome(contenders.theirs, text, targets=targets, top_k=top_k)
    assert ours == list(dict.fromkeys(theirs))  # a word given twice is looked up once
    assert_same(mine, other)


@drawn
@given(data=st.data())
def test_one_bad_text_is_the_same_error(contenders: Contenders, data: st.DataObject) -> None:
    good = drawn_texts(data, contenders)
    bad = drawn_texts(data, contenders, least=0, most=0)[0]
    texts = data.draw(st.permutations([*good, bad]))
    with pytest.raises(Exception, match="No mask_token") as theirs:
        contenders.theirs(texts)
    with pytest.raises(TextError, match="No mask_token") as ours:
        contenders.ours(texts)
    assert str(ours.value).startswith(str(theirs.value))
    assert f"text {texts.index(bad)}" in str(ours.value)


# What is refused


@pytest.mark.parametrize("inputs", [None, 3, ("a [MASK] b", "[MASK]"), {"text": "a [MASK]"}, b"[MASK]", [None], [3]])
def test_what_is_no_text_is_the_same_error(contenders: Contenders, inputs: object) -> None:
    assert isinstance(outcome(contenders.theirs, inputs), ValueError)
    assert isinstance(outcome(contenders.ours, inputs), ValueError)


@pytest.mark.parametrize("targets", [[], "", [""], [3]])
def test_unusable_targets_are_the_same_error(contenders: Contenders, targets: object) -> None:
    ours, theirs = (
        outcome(call, f"a {contenders.mask}", targets=targets) for call in (contenders.ours, contenders.theirs)
    )
    assert isinstance(theirs, ValueError)
    assert isinstance(ours, ValueError)
    if targets != [3]:
        assert str(ours) == str(theirs)


@pytest.mark.parametrize("arguments", [{"topk": 3}, {"temperature": 1.0}])
def test_an_unknown_argument_is_the_same_error(contenders: Contenders, arguments: dict[str, Any]) -> None:
    (name,) = arguments
    for call in (contenders.ours, contenders.theirs):
        error = outcome(call, f"a {contenders.mask}", **arguments)
        assert isinstance(error, TypeError)
        assert name in str(error)


@pytest.mark.parametrize("top_k", [-1, 100_000])
def test_an_impossible_top_k_is_an_error(contenders: Contenders, top_k: int) -> None:
    for call in (contenders.ours, contenders.theirs):
        assert isinstance(outcome(call, f"a {contenders.mask}", top_k=top_k), ValueError | RuntimeError)


def test_defaults_are_overridden_by_the_call(checkpoint: Path, fp32_bundle: Path, contenders: Contenders) -> None:
    defaults: dict[str, Any] = {"top_k": 2, "targets": ["the", "water", "."]}
    theirs = transformers.pipeline("fill-mask", model=str(checkpoint), device="cpu", **defaults)
    ours = pipeline("fill-mask", model=fp32_bundle, **defaults)
    text = f"the {contenders.mask} of a {contenders.mask}"
    calls: list[dict[str, Any]] = [{}, {"top_k": 3}, {"targets": "the"}, {"top_k": None, "targets": None}]
    for call in calls:
        assert_same(ours(text, **call), theirs(text, **call))


# With spaces cleaned up


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "roberta"])
def cleaning(
    request: pytest.FixtureRequest, checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Contenders:
    """A checkpoint that asks for clean_up_tokenization_spaces, as many on the Hub do."""
    directory = Path(shutil.copytree(checkpoints(request.param), tmp_path_factory.mktemp("cleaning") / "checkpoint"))
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "clean_up_tokenization_spaces": True}))
    return contenders_of(directory, directory.parent / "bundle")


@drawn
@given(data=st.data())
def test_spaces_are_cleaned_up_alike(cleaning: Contenders, data: st.DataObject) -> None:
    texts = drawn_texts(data, cleaning)
    assert_same(cleaning.ours(texts), cleaning.theirs(texts))


# With real vocabularies


@pytest.fixture(scope="module", params=["bert-base-cased", "bert-base-uncased", "roberta-base"])
def real(
    request: pytest.FixtureRequest, make_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Contenders:
    """A model with random weights and a vocabulary that people use."""
    if not VOCABULARIES.is_dir():
        pytest.skip(f"real vocabularies are absent: {VOCABULARIES}")
    directory = tmp_path_factory.mktemp("real")
    tokenizer = real_tokenizer(VOCABULARIES / request.param)
    tokenizer.save_pretrained(directory / "checkpoint")
    make_model(request.param.partition("-")[0], vocab_size=len(tokenizer)).save_pretrained(directory / "checkpoint")
    return contenders_of(directory / "checkpoint", directory / "bundle")


def contenders_of(checkpoint: Path, bundle: Path) -> Contenders:
    """A checkpoint, and the bundle that is made of it here."""
    export_bundle(str(checkpoint), bundle, ExportOptions(precision="fp32"))
    theirs = transformers.pipeline("fill-mask", model=str(checkpoint), dtype=torch.float32, device="cpu")
    return Contenders(pipeline(model=bundle), theirs)


def real_tokenizer(folder: Path) -> Any:
    if (folder / "merges.txt").exists():
        files: Any = {"vocab": str(folder / "vocab.json"), "merges": str(folder / "merges.txt")}
        return transformers.RobertaTokenizer(**files, model_max_length=48)
    uncased = "uncased" in folder.name
    return transformers.BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=uncased, model_max_length=48)


@drawn
@given(data=st.data(), targets=TARGETS)
def test_with_real_vocabularies_too(real: Contenders, data: st.DataObject, targets: list[str]) -> None:
    texts = drawn_texts(data, real)
    assert_same(real.ours(texts, top_k=20), real.theirs(texts, top_k=20))
    mine, other = (outcome(call, texts, targets=targets) for call in (real.ours, real.theirs))
    assert_same(mine, other)


# How results are compared


def outcome(call: Callable[..., Any], *inputs: object, **arguments: Any) -> Any:
    """What a call returns or raises."""
    try:
        return call(*inputs, **arguments)
    except Exception as error:
        return error


def assert_same(ours: Any, theirs: Any) -> None:
    """The same nesting, and at each mask the same candidates in the same order."""
    if isinstance(theirs, Exception):
        assert isinstance(ours, ValueError)
        assert str(ours) == str(theirs)
    elif theirs and isinstance(theirs[0], list):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    else:
        assert_same_candidates(ours, theirs)


def assert_same_candidates(ours: Candidates, theirs: Candidates) -> None:
    """Candidates whose scores tie may have changed places, with each other or with one just outside of the list."""
    assert len(ours) == len(theirs)
    if not ours:
        return
    mine, other = ({guess["token"]: guess for guess in guesses} for guesses in (ours, theirs))
    assert len(mine) == len(ours)
    for token in mine.keys() & other.keys():
        assert list(mine[token]) == list(other[token])
        assert {**mine[token], "score": 0} == {**other[token], "score": 0}
        assert mine[token]["score"] == pytest.approx(other[token]["score"], abs=1e-5, rel=1e-3)
    for token in mine.keys() ^ other.keys():
        assert (mine.get(token) or other[token])["score"] == pytest.approx(theirs[-1]["score"], abs=TIE)
    common = [other[guess["token"]]["score"] for guess in ours if guess["token"] in other]
    assert all(before > after - TIE for before, after in itertools.pairwise(common))


@contextmanager
def logged(name: str) -> Iterator[list[str]]:
    """The messages that a logger is given."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)  # somebody may have asked transformers for silence
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
