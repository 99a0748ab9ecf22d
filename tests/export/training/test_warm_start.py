"""Warm start: any encoder's checkpoint -> a masked language model, trained on from it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from maskedge_export.corpora.packing import prepare_corpus
from maskedge_export.encoders.checkpoint import load_checkpoint, load_encoder
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.pretrained import begin_head, trainable
from maskedge_export.errors import CheckpointError, RecipeError, ResumeError, UnsupportedModelError
from maskedge_export.recipe import (
    CorpusRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    RunRecipe,
    ScheduleRecipe,
    TokenizerRecipe,
)
from maskedge_export.training.trainer import LogEntry, TrainingOptions, TrainingResult, train

pytestmark = pytest.mark.slow

MakeModel = Callable[..., Any]
Checkpoints = Callable[[str], Path]
STEPS = 24


@pytest.fixture(scope="module")
def headless(
    make_model: MakeModel, checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A family's sentence encoder: its checkpoint without the head, as AutoModel saves it."""

    def save(family: str) -> Path:
        out = tmp_path_factory.mktemp("headless") / family
        make_model(family).base_model.save_pretrained(out)
        return with_tokenizer(out, checkpoints(family))

    return save


@pytest.fixture(scope="module")
def sentence_encoder(headless: Callable[[str], Path]) -> Path:
    return headless("bert")


@pytest.fixture(scope="module")
def recipe(sentence_encoder: Path, sentences: Path) -> Recipe:
    return Recipe(
        corpus=CorpusRecipe(files=(str(sentences),), held_out=0.1),
        model=ModelRecipe(start=str(sentence_encoder)),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=5e-3),
        schedule=ScheduleRecipe(steps=STEPS, warmup=2, lengths=(32,)),
        run=RunRecipe(batch_tokens=512, precision="fp32", threads=1, log_every=4, evaluate_every=STEPS, save_every=8),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def log() -> list[LogEntry]:
    return []


@pytest.fixture(scope="module")
def undisturbed(
    recipe: Recipe, cache: Path, log: list[LogEntry], tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    result = train(recipe, TrainingOptions(out, cache=cache, on_log=log.append))
    assert result is not None
    return result


def with_tokenizer(directory: Path, other: Path) -> Path:
    for file in other.glob("tokenizer*"):
        shutil.copy(file, directory)
    return directory


def trunk(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in encoder.state_dict().items() if not name.startswith("head.")}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_a_sentence_encoder_s_weights_arrive_unchanged(family: str, checkpoint: Path, headless: Any) -> None:
    loaded = load_encoder(str(headless(family)))
    assert loaded.lacks_head
    assert_same(trunk(loaded.native()), trunk(load_checkpoint(str(checkpoint)).native()))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert"])
def test_a_classifier_s_weights_arrive_but_for_its_head(
    family: str, make_model: MakeModel, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    classifier: Any = transformers.AutoModelForSequenceClassification
    classifier = classifier.from_config(make_model(family).config)
    classifier.base_model.load_state_dict(make_model(family).base_model.state_dict(), strict=False)
    classifier.save_pretrained(tmp_path)
    loaded = load_encoder(str(with_tokenizer(tmp_path, checkpoints(family))))
    assert loaded.lacks_head  # ModernBERT's classifier has a dense layer of the same name, trained for other ends
    assert_same(trunk(loaded.native()), trunk(load_checkpoint(str(checkpoints(family))).native()))


def test_electra_s_discriminator_becomes_a_generator(
    make_model: MakeModel, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    generator = make_model("electra")
    discriminator = transformers.ElectraForPreTraining(generator.config)
    discriminator.electra.load_state_dict(generator.electra.state_dict())
    discriminator.save_pretrained(tmp_path)
    loaded = load_encoder(str(with_tokenizer(tmp_path, checkpoints("electra"))))
    assert loaded.lacks_head
    assert_same(trunk(loaded.native()), trunk(load_checkpoint(str(checkpoints("electra"))).native()))


def test_a_trained_head_is_kept(make_model: MakeModel, checkpoints: Checkpoints, tmp_path: Path) -> None:
    model = transformers.BertForPreTraining(make_model("bert").config)
    model.load_state_dict(make_model("bert").state_dict(), strict=False)
    model.save_pretrained(tmp_path)
    loaded = load_encoder(str(with_tokenizer(tmp_path, checkpoints("bert"))))
    assert not loaded.lacks_head
    assert_same(loaded.native().state_dict(), load_checkpoint(str(checkpoints("bert"))).native().state_dict())


@pytest.mark.parametrize("family", ["bert", "electra", "modernbert"])
def test_a_new_head_is_tied_undoes_the_projection_and_expects_each_token_as_often_as_it_is_met(
    family: str, headless: Any
) -> None:
    model = trainable(load_encoder(str(headless(family))))
    encoder = model.encoder
    counts = torch.arange(encoder.config.vocab_size)
    begin_head(model, counts)
    assert encoder.head.decoder.weight is encoder.embedding.tokens.weight
    assert model.config.tie_word_embeddings
    with torch.no_grad():
        vectors = encoder.embedding.tokens.weight
        project = encoder.embedding.project
        projected = vectors @ project.weight.T if isinstance(project, torch.nn.Linear) else vectors
        torch.testing.assert_close(encoder.head.dense(projected), vectors, atol=1e-4, rtol=1e-4)
        expected = (counts + 1) / (counts + 1).sum()
        torch.testing.assert_close(encoder.head.decoder.bias.softmax(0), expected)


def test_tokens_are_counted(recipe: Recipe, cache: Path, sentence_encoder: Path) -> None:
    taken = replace(recipe, tokenizer=TokenizerRecipe(existing=str(sentence_encoder)), model=ModelRecipe(max_length=48))
    corpus = prepare_corpus(taken, cache)
    counts = corpus.token_counts(500)
    assert counts.shape == (500,)
    assert {token: count for token, count in enumerate(counts) if count} == {
        int(token): int((np.asarray(corpus.tokens) == token).sum()) for token in set(corpus.tokens.tolist())
    }


def test_training_starts_from_the_encoder_and_keeps_its_tokenizer(
    recipe: Recipe, cache: Path, sentence_encoder: Path, tmp_path: Path
) -> None:
    still = replace(recipe.optimizer, learning_rate=0.0)
    result = train(replace(recipe, optimizer=still), TrainingOptions(tmp_path, cache=cache))
    assert result is not None
    after = load_checkpoint(str(result.model))
    start = load_encoder(str(sentence_encoder))
    assert_same(trunk(after.native()), trunk(start.native()))
    assert after.tokenizer.backend_tokenizer.to_str() == start.tokenizer.backend_tokenizer.to_str()
    assert f"From `{sentence_encoder.name}`, with a new head" in (result.model / "README.md").read_text()


def test_it_learns(undisturbed: TrainingResult, log: list[LogEntry]) -> None:
    assert log[-1].loss < log[0].loss - 0.2
    model, info = transformers.AutoModelForMaskedLM.from_pretrained(undisturbed.model, output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.tie_word_embeddings


def test_a_stopped_run_goes_on_as_if_it_had_not_been_wherever_the_start_is_now(
    recipe: Recipe, cache: Path, sentence_encoder: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    def stop(entry: LogEntry) -> None:
        if entry.step == 12:
            raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, TrainingOptions(out, cache=cache, on_log=stop))
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000008"]
    shutil.copytree(sentence_encoder, tmp_path / "moved")
    moved = replace(recipe, model=ModelRecipe(start=str(tmp_path / "moved")))
    assert train(moved, TrainingOptions(out, resume=True, cache=cache)) is not None
    weights, expected = (model / "model.safetensors" for model in (out / "model", undisturbed.model))
    assert weights.read_bytes() == expected.read_bytes()


def test_a_run_is_not_resumed_with_another_start(
    recipe: Recipe, cache: Path, sentence_encoder: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    other = shutil.copytree(sentence_encoder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, other / "model.safetensors", {"format": "pt"})
    changed = replace(recipe, model=ModelRecipe(start=str(other)))
    with pytest.raises(ResumeError, match=r"with another model\.start; choose another --out"):
        train(changed, TrainingOptions(undisturbed.model.parent, resume=True, cache=cache))


def test_rows_longer_than_the_start_takes_are_refused(recipe: Recipe, cache: Path, tmp_path: Path) -> None:
    longer = replace(recipe, schedule=replace(recipe.schedule, lengths=(64,)))
    with pytest.raises(RecipeError, match=r"schedule\.lengths has 64, longer than the 48 tokens that bert takes"):
        train(longer, TrainingOptions(tmp_path, cache=cache))


def test_a_start_without_all_of_its_encoder_is_refused(sentence_encoder: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(sentence_encoder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .*, bert\.encoder\.layer\.1\.output"):
        load_encoder(str(broken))


def test_a_start_without_a_native_form_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'deberta', which can be exported but not trained on"):
        load_encoder(str(checkpoints("deberta")))


def test_a_checkpoint_without_a_head_is_told_the_way_out_where_there_is_one(headless: Any) -> None:
    start = headless("distilbert")
    with pytest.raises(
        CheckpointError, match=rf"config\.json, or train a head: mlm-export train RECIPE --start {start}$"
    ):
        load_checkpoint(str(start))
    with pytest.raises(CheckpointError, match=r"and its own config\.json$"):
        load_checkpoint(str(headless("deberta")))
