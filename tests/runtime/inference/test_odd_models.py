"""Models whose tokenizer stops, that rule tokens out, or whose sums are no numbers: at every way to ask them, in each
engine."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from altered_bundles import ban_tokens, break_position, without_unknown

from maskedge import Fill, MaskFill, Predictor, TextError, TextStatus, explain
from maskedge.bundle.engine import EngineName
from maskedge.bundle.engine_choice import load_graph
from maskedge.bundle.format import GoldenVector, Manifest
from maskedge.bundle.golden_vectors import replay
from maskedge.inference.metrics import entropy

Ways = dict[str, Callable[[Predictor, str], Any]]

FILLING: Ways = {
    "fill": lambda model, text: model.fill([text]),
    "fill with targets": lambda model, text: model.fill([text], targets=["the"]),
    "fill_many": lambda model, text: list(model.fill_many([text])),
    "fill_jointly": lambda model, text: model.fill_jointly([text]),
    "call": lambda model, text: model(text),
    "call with a list": lambda model, text: model([text, text]),
    "call with an iterator": lambda model, text: list(model(iter([text]))),
    "call with targets": lambda model, text: model(text, targets=["the"]),
    "call with whole targets": lambda model, text: model(text, targets=["the", "the the"], whole_targets=True),
    "call for joint fillings": lambda model, text: model(text, joint=True),
    "explain": explain,
}
SCORING: Ways = {
    "score": lambda model, text: model.score([text]),
    "score whole words": lambda model, text: model.score([text], method="whole_word"),
    "score_many": lambda model, text: list(model.score_many([text])),
}


def opened(bundle: Path, engine: EngineName) -> Predictor:
    """Without the proof by golden vectors, which such a model does not give again."""
    predictor = Predictor.load(bundle, threads=2, engine="onnxruntime")
    _, entry = predictor.bundle.graph(predictor.precision)
    graph = load_graph(predictor.bundle.graph_file(entry), engine, 2, max_length=predictor.bundle.manifest.max_length)
    return replace(predictor, graph=graph)


def refused(ask: Callable[[Predictor, str], Any], model: Predictor, text: str) -> TextError:
    with pytest.raises(TextError) as caught:
        ask(model, text)
    return caught.value


# A tokenizer that stops at what its vocabulary lacks


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(without_unknown(tmp_path_factory.mktemp("wordless") / "bundle"), threads=1)


@pytest.mark.parametrize("way", FILLING)
def test_a_text_that_cannot_be_written_is_refused_by_name(wordless: Predictor, way: str) -> None:
    error = refused(FILLING[way], wordless, "the 🙂 <mask>")
    assert error.status is TextStatus.UNTOKENIZABLE
    assert "the tokenizer cannot write the text 'the 🙂 <mask>'" in str(error)
    FILLING[way](wordless, "the <mask>")


@pytest.mark.parametrize("way", SCORING)
def test_a_text_that_cannot_be_written_is_not_scored(wordless: Predictor, way: str) -> None:
    assert refused(SCORING[way], wordless, "🙂").status is TextStatus.UNTOKENIZABLE


def test_a_target_that_cannot_be_written_is_named(wordless: Predictor) -> None:
    text = "the <mask>"
    assert wordless.target_id(wordless.encode(text), 0, "🙂") is None
    for whole in (False, True):
        with pytest.raises(ValueError, match=r"At least one target|'🙂' cannot be written"):
            wordless(text, targets=["🙂"], whole_targets=whole)
    with pytest.raises(ValueError, match="the target '🙂' cannot be written with the model's vocabulary"):
        wordless.fill([text], targets=["🙂"])


def test_a_stream_ends_at_the_text_that_cannot_be_written(wordless: Predictor) -> None:
    fills = wordless.fill_many(["the <mask>", "🙂 <mask>", "the <mask>"])
    assert isinstance(next(fills), Fill)
    with pytest.raises(TextError, match="text 1: the tokenizer cannot write"):
        next(fills)


# Tokens that are ruled out


@pytest.fixture(scope="module")
def banned(tiny: Predictor) -> int:
    token = tiny.encoder.token_id("water")
    assert token is not None
    return token


@pytest.fixture(scope="module")
def banning(banned: int, engine: EngineName, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return opened(ban_tokens(tmp_path_factory.mktemp("banning") / "bundle", banned, 7), engine)


def test_a_token_that_is_ruled_out_has_no_chance(banning: Predictor, banned: int) -> None:
    (fill,) = banning.fill(["the [MASK]"], top_k=400, targets=["water", "waters"])
    (mask,) = fill.masks
    assert {guess.token for guess in mask.predictions[-2:]} == {banned, 7}
    assert [guess.score for guess in mask.predictions[-2:]] == [0, 0]
    assert math.fsum(guess.score for guess in mask.predictions) == pytest.approx(1, abs=1e-5)
    assert {target.target: target.logprob for target in mask.targets} == {"water": -math.inf, "waters": -math.inf}


@pytest.mark.parametrize("top_k", [0, 5, 400])
def test_entropy_leaves_out_what_is_ruled_out(banning: Predictor, top_k: int) -> None:
    """One text's graph says NaN of it; the others' answers are as they were."""
    (everything,) = banning.fill(["the [MASK] of [MASK]"], top_k=400)
    (fill,) = banning.fill(["the [MASK] of [MASK]"], top_k=top_k)
    for mask, all_of_it in zip(fill.masks, everything.masks, strict=True):
        probabilities = [guess.score for guess in all_of_it.predictions if guess.score]
        assert mask.entropy == pytest.approx(-math.fsum(p * math.log(p) for p in probabilities), abs=1e-5)
    assert not fill.has_nan


def test_joint_fillings_may_hold_what_is_ruled_out_last(banning: Predictor) -> None:
    (fills,) = banning.fill_jointly(["[MASK] [MASK]"], top_k=400, beams=400)
    assert all(math.isfinite(fill.logprob) for fill in fills)
    (one,) = banning.fill_jointly(["the [MASK]"], top_k=400)
    assert [fill.logprob for fill in one][-2:] == [-math.inf] * 2


def test_a_text_with_it_has_no_likelihood(banning: Predictor) -> None:
    (score,) = banning.score(["the water"])
    assert (score.pll, score.pseudo_perplexity, score.bits_per_character) == (-math.inf, math.inf, math.inf)
    assert not score.has_nan


@pytest.mark.parametrize("way", FILLING)
def test_every_way_to_ask_has_an_answer(banning: Predictor, way: str) -> None:
    assert FILLING[way](banning, "the [MASK]")


def test_an_entropy_of_nothing_is_nothing() -> None:
    assert entropy([0.0, -math.inf]) == 0
    assert entropy([math.log(0.5), -math.inf, math.log(0.5)]) == pytest.approx(math.log(2))
    assert math.isnan(entropy([math.nan, 0.0]))


# Sums that are no numbers


@pytest.fixture(scope="module")
def broken(engine: EngineName, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Texts of more than six tokens, special ones counted, are answered with NaN."""
    return opened(break_position(tmp_path_factory.mktemp("broken") / "bundle", position=6), engine)


@pytest.mark.parametrize("way", FILLING)
def test_what_is_no_number_is_refused_by_name(broken: Predictor, way: str) -> None:
    error = refused(FILLING[way], broken, "the water of the land [MASK]")
    assert error.status is TextStatus.NOT_A_NUMBER
    assert "the model's scores are no numbers (NaN)" in str(error)
    FILLING[way](broken, "the [MASK]")


@pytest.mark.parametrize("way", SCORING)
def test_what_is_no_number_is_no_score(broken: Predictor, way: str) -> None:
    assert refused(SCORING[way], broken, "the water of the land").status is TextStatus.NOT_A_NUMBER
    SCORING[way](broken, "the water")


def test_the_first_such_text_of_a_list_is_named(broken: Predictor) -> None:
    short, long = "the [MASK]", "the water of the land [MASK]"
    for ask in (broken.fill, broken):
        with pytest.raises(TextError, match="text 2: the model's scores"):
            ask([short, short, long, f"{long} {long}", short])


def test_encoded_texts_are_answered_all_the_same(broken: Predictor) -> None:
    """For who asks about many and must not lose the others."""
    encoded = [broken.encode(text) for text in ("the [MASK]", "the water of the land [MASK]")]
    assert [fill.has_nan for fill in broken.fill_encoded(encoded)] == [False, True]
    encoded = [broken.encode(text) for text in ("the water", "the water of the land")]
    assert [score.has_nan for score in broken.score_encoded(encoded)] == [False, True]


def test_verifying_such_a_model_fails(broken: Predictor) -> None:
    verification = broken.verify()
    assert (verification.max_logprob_difference, verification.passed) == (math.inf, False)


def test_golden_vectors_may_hold_what_is_ruled_out(banning: Predictor) -> None:
    """JSON has no word for its log-probability, and the difference of two such is nothing."""
    (fill,) = banning.fill_encoded([banning.encode("the [MASK]")], top_k=400)
    worst = [guess.token for guess in fill.masks[0].predictions[-5:]]
    ids = tuple(banning.encode("the [MASK]").input_ids.tolist())
    logprobs = tuple(math.log(guess.score) if guess.score else -math.inf for guess in fill.masks[0].predictions[-5:])
    recorded = GoldenVector(ids, (2,), (tuple(worst),), (logprobs,))
    manifest = banning.bundle.manifest
    graph = replace(manifest.graphs["int8"], golden=(recorded,))
    manifest = replace(manifest, graphs={"int8": graph})
    assert "Infinity" not in manifest.to_json()
    assert Manifest.from_json(manifest.to_json()).graphs["int8"].golden == (recorded,)
    found = replay(banning.graph, "int8", (recorded,), banning.verify().cpu)
    assert found.passed
    assert found.max_logprob_difference < 1e-3
    other = GoldenVector(ids, (2,), (tuple(worst),), ((*logprobs[:-1], -5.0),))
    assert replay(banning.graph, "int8", (other,), banning.verify().cpu).max_logprob_difference == math.inf


def test_results_know_whether_they_are_numbers() -> None:
    mask = MaskFill(1, (), math.nan, None)
    assert mask.has_nan
    assert Fill("", (mask,), 1, False).has_nan
    assert not Fill("", (MaskFill(1, (), math.inf, None),), 1, False).has_nan
