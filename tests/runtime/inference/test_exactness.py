"""A text's floats are the same bits whatever it is batched with and however many threads run, in each engine: every ==
is exact."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from maskedge import Fill, MaskFill, Predictor, SentenceScore, TargetScore
from maskedge.bundle.engine import EngineName, OnnxGraph

Ask = Callable[..., dict[str, Any]]
DrawTexts = Callable[..., list[str]]

SEEDS = range(4)


ENGINES: tuple[EngineName, ...] = ("onnxruntime", "openvino")
MODELS = [*product(("int8", "fp32", "english"), ENGINES), ("english", "kernels")]


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def model(request: pytest.FixtureRequest, bundle: Path) -> Predictor:
    name, engine = request.param
    if engine != "onnxruntime":
        request.getfixturevalue(engine)
    if name == "english":
        return Predictor.load(threads=2, engine=engine)
    return Predictor.load(bundle, precision=name, threads=2, engine=engine)


@pytest.fixture(scope="module", params=["int8", "fp32"])
def predictor(request: pytest.FixtureRequest, bundle: Path, engine: EngineName) -> Predictor:
    return Predictor.load(bundle, precision=request.param, threads=2, engine=engine)


def shuffled(texts: list[str], seed: int) -> list[str]:
    return random.Random(seed).sample(texts, len(texts))


@pytest.mark.parametrize("seed", SEEDS)
def test_fill_is_independent_of_batch_mates(model: Predictor, draw_texts: DrawTexts, seed: int) -> None:
    texts = draw_texts(seed, masks=(1, 1, 2, 3))
    alone = {text: model.fill([text])[0] for text in texts}
    assert model.fill(texts) == [alone[text] for text in texts]
    mixed = shuffled(texts, seed)
    assert model.fill(mixed) == [alone[text] for text in mixed]


@pytest.mark.parametrize("seed", SEEDS)
def test_score_is_independent_of_batch_mates(model: Predictor, draw_texts: DrawTexts, seed: int) -> None:
    texts = draw_texts(seed, masks=(0,), count=6)
    alone = {text: model.score([text])[0] for text in texts}
    assert model.score(texts) == [alone[text] for text in texts]
    mixed = shuffled(texts, seed)
    assert model.score(mixed) == [alone[text] for text in mixed]


def test_a_full_batch_of_one_length_scores_each_row_as_alone(model: Predictor) -> None:
    texts = [f"the {word} [MASK] water" for word in ("six", "two", "old", "one", "man", "day", "we", "you", "he")] * 30
    alone = {text: model.fill([text])[0] for text in texts}
    assert model.fill(texts) == [alone[text] for text in texts]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_results_are_independent_of_the_number_of_threads(
    bundle: Path, engine: EngineName, draw_texts: DrawTexts, precision: str, seed: int
) -> None:
    masked, whole = draw_texts(seed, masks=(1, 2)), draw_texts(seed, masks=(0,), count=6)
    one, two, four = (
        (predictor.fill(masked), predictor.score(whole))
        for predictor in (
            Predictor.load(bundle, precision=precision, threads=threads, engine=engine) for threads in (1, 2, 4)
        )
    )
    assert one == two == four


@pytest.mark.slow
def test_results_are_independent_of_the_threads_that_share_a_batch(engine: EngineName) -> None:
    """The bundled model: of the tests' small one no batch is large enough for onnxruntime to divide."""
    sentence = "the river flows past old mills and into a sea that nobody here has crossed since then"
    words = sentence.split() * 30
    masked = [" ".join(["[MASK]", *words[:length]]) for length in (1, 2, 5, 12, 30, 31, 64, 127, 300, 480)]

    def answers(threads_per_batch: int) -> tuple[list[Fill], list[SentenceScore]]:
        predictor = Predictor.load(engine=engine, threads=1, threads_per_batch=threads_per_batch)
        return predictor.fill(masked), predictor.score([sentence])

    assert answers(1) == answers(2) == answers(3) == answers(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_predictor_serves_several_threads_at_once(predictor: Predictor, draw_texts: DrawTexts, seed: int) -> None:
    texts = draw_texts(seed, masks=(1, 2, 3))
    expected = {text: predictor.fill([text])[0] for text in texts}
    orders = [shuffled(texts, order) for order in range(8)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(predictor.fill, orders))
    assert answers == [[expected[text] for text in order] for order in orders]


def test_each_call_of_the_graph_runs_on_one_thread(bundle: Path) -> None:
    """Unless it is told otherwise: several calls at once are faster than one call on several threads."""
    options = OnnxGraph(bundle / "onnx/int8.onnx").session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_top_k_changes_no_score(predictor: Predictor) -> None:
    few, many = (predictor.fill(["the [MASK] water"], top_k=top_k)[0].masks[0] for top_k in (2, 50))
    assert few.predictions == many.predictions[:2]
    assert few.entropy == many.entropy


@pytest.mark.parametrize("seed", SEEDS)
def test_fill_says_what_the_graph_says_of_one_query(
    predictor: Predictor, tokenizer: Tokenizer, ask: Ask, draw_texts: DrawTexts, seed: int
) -> None:
    texts = draw_texts(seed, masks=(1, 2, 4))
    targets = [[(7 * index) % 400 for index in range(text.count("[MASK]"))] for text in texts]
    fills = predictor.fill_encoded([predictor.encode(text) for text in texts], targets=targets)
    for text, ids, fill in zip(texts, targets, fills, strict=True):
        assert_is_the_graphs(fill, text, ids, predictor, tokenizer, ask)


def assert_is_the_graphs(
    fill: Fill, text: str, targets: list[int], predictor: Predictor, tokenizer: Tokenizer, ask: Ask
) -> None:
    ids = tokenizer.encode(text).ids
    positions = [index for index, token in enumerate(ids) if token == tokenizer.token_to_id("[MASK]")]
    outputs = ask(predictor, ids, positions, targets, top_k=5)
    assert [mask.position for mask in fill.masks] == positions
    for index, mask in enumerate(fill.masks):
        assert_mask_is_the_graphs(mask, targets[index], {name: values[index] for name, values in outputs.items()})


def assert_mask_is_the_graphs(mask: MaskFill, target: int, outputs: dict[str, Any]) -> None:
    assert [guess.token for guess in mask.predictions] == outputs["top_ids"].tolist()
    assert [guess.score for guess in mask.predictions] == pytest.approx(
        [2.718281828459045**logprob for logprob in outputs["top_logprobs"].tolist()], rel=1e-12
    )
    assert mask.entropy == outputs["entropy"].item()
    assert mask.target == TargetScore(target, outputs["target_logprobs"].item(), outputs["target_ranks"].item())


@pytest.mark.parametrize("seed", SEEDS)
def test_score_says_what_the_graph_says_of_each_masked_copy(
    predictor: Predictor, tokenizer: Tokenizer, ask: Ask, draw_texts: DrawTexts, seed: int
) -> None:
    texts = draw_texts(seed, masks=(0,), count=4)
    for text, sentence in zip(texts, predictor.score(texts), strict=True):
        assert [token.logprob for token in sentence.tokens] == masked_copies(text, predictor, tokenizer, ask)


def masked_copies(text: str, predictor: Predictor, tokenizer: Tokenizer, ask: Ask) -> list[float]:
    """The log-probability of each token between [CLS] and [SEP], one masked copy of the text a call."""
    ids, mask_id = tokenizer.encode(text).ids, tokenizer.token_to_id("[MASK]")
    return [
        ask(predictor, [*ids[:at], mask_id, *ids[at + 1 :]], [at], [ids[at]], top_k=0)["target_logprobs"].item()
        for at in range(1, len(ids) - 1)
    ]


def test_a_result_is_a_value(tiny: Predictor) -> None:
    """Frozen and comparable, or the comparisons above would say nothing."""
    (fill,), (sentence,) = tiny.fill(["the [MASK]"]), tiny.score(["the water"])
    assert isinstance(fill, Fill)
    assert isinstance(sentence, SentenceScore)
    assert fill != tiny.fill(["two [MASK]"])[0]
    assert sentence != tiny.score(["two water"])[0]
    with pytest.raises(AttributeError):
        fill.text = "other"  # type: ignore[misc]
