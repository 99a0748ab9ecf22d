"""What contenders share: padded batches that say what single rows say, and environments of exact versions."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from harness.contenders import PEERS
from harness.environments import CONSTRAINTS, Environment, development_packages, installed_bytes, needed
from peers.batches import Batch, Float32Array, SortedBatches, best_tokens, masked_copies
from peers.contender import Model
from peers.transformers_4 import rotary
from transformers import ModernBertConfig

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "english-minilm"
VOCABULARY = 50
TEXTS = [f"{'the ' * count}[MASK] flows." for count in (3, 1, 12, 1, 7, 5, 30)]


def network(batch: Batch) -> Float32Array:
    """Logits drawn by a row's own tokens, whatever it is padded with."""
    rows = zip(batch.input_ids, batch.attention_mask, batch.positions, strict=True)
    seeds = [int(row[mask.astype(bool)].sum()) * 1000 + int(place) for row, mask, place in rows]
    return np.stack([np.random.default_rng(seed).normal(size=VOCABULARY) for seed in seeds]).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model("default", CHECKPOINT, tmp_path, tmp_path / "calibration.txt", threads=2)


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_row_s_answer_is_not_its_batch_s(model: Model, at_once: int) -> None:
    batches = SortedBatches(model, network, at_once=at_once)
    assert batches.fill(TEXTS) == [batches.fill([text])[0] for text in TEXTS]
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    assert batches.fill(shuffled) == [batches.fill([text])[0] for text in shuffled]


def test_the_mask_is_where_the_batch_says(model: Model) -> None:
    seen: list[Batch] = []

    def noting(batch: Batch) -> Float32Array:
        seen.append(batch)
        return network(batch)

    batches = SortedBatches(model, noting)
    batches.fill(TEXTS)
    assert all((batch.input_ids[range(len(batch.positions)), batch.positions] == batches.mask).all() for batch in seen)


def test_a_text_s_score_is_that_of_its_tokens_one_by_one(model: Model) -> None:
    batches = SortedBatches(model, network)
    texts = ["The river flows.", "Six keys are on the table."]
    expected = []
    for ids in (batches.tokenizer.encode(text).ids for text in texts):
        total = 0.0
        for place in range(1, len(ids) - 1):
            copy = [*ids[:place], batches.mask, *ids[place + 1 :]]
            logits = network(batches.batch([copy]))[0].astype(np.float64)
            total += logits[ids[place] % VOCABULARY] - np.log(np.exp(logits).sum())
        expected.append(total)
    small = SortedBatches(model, lambda batch: np.tile(network(batch), (1, 15360 // VOCABULARY + 1)))
    copies = np.log(15360 // VOCABULARY + 1)  # each logit stands so many times in the vocabulary
    lengths = [len(batches.tokenizer.encode(text).ids) - 2 for text in texts]
    assert small.score(texts) == pytest.approx(
        [e - n * copies for e, n in zip(expected, lengths, strict=True)], abs=1e-3
    )


def test_the_best_tokens_come_with_their_probabilities() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 40)).astype(np.float32)
    tokens, probabilities = best_tokens(logits)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.array_equal(tokens, np.argsort(-logits, axis=1)[:, :5])
    assert np.allclose(probabilities, np.take_along_axis(softmax, tokens, axis=1))


def test_copies_mask_each_token_between_the_ends_once() -> None:
    assert masked_copies([[1, 7, 8, 2], [1, 9, 2]], 0) == ([[1, 0, 8, 2], [1, 7, 0, 2], [1, 0, 2]], [7, 8, 9], [2, 1])


def test_transformers_4_is_told_of_rotary_embeddings_in_its_words() -> None:
    config = ModernBertConfig(num_hidden_layers=2, layer_types=["full_attention"] * 2).to_dict()
    assert rotary(config)["global_rope_theta"] == config["rope_parameters"]["full_attention"]["rope_theta"]
    assert rotary({"model_type": "bert"}) == {}


def test_every_version_of_a_contender_is_exact() -> None:
    files = sorted(CONSTRAINTS.glob("*.txt"))
    lines = [
        line for file in files for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert {file.stem for file in files} <= {peer.environment or peer.module for peer in PEERS} | {"atheris"}


def test_what_is_needed_is_counted_with_what_that_needs() -> None:
    here = Environment(Path(), (development_packages(),), "")
    assert {found.name.lower() for found in needed(here, ["jinja2"])} == {"jinja2", "markupsafe"}
    assert installed_bytes(here, ("jinja2",)) > installed_bytes(here, ("markupsafe",)) > 10_000
