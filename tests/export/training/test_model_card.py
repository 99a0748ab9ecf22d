"""A trained checkpoint's card: read by the Hub's own parser, with the run's figures."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.recipe import CorpusRecipe, ModelRecipe, Recipe, RunRecipe, ScheduleRecipe, TokenizerRecipe
from maskedge_export.training.model_card import training_seconds
from maskedge_export.training.trainer import TrainingOptions, TrainingResult, train

RECIPE = Recipe(
    tokenizer=TokenizerRecipe(vocab_size=300),
    model=ModelRecipe(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=16, max_length=32),
    schedule=ScheduleRecipe(steps=4, warmup=1, lengths=(16, 32), length_shares=(0.5, 0.5), mask_rates=(0.3, 0.15)),
    run=RunRecipe(batch_tokens=256, precision="fp32", threads=1, log_every=2),
)


@pytest.fixture(scope="module")
def trained(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    recipe = Recipe(RECIPE.tokenizer, CorpusRecipe((str(sentences),), held_out=0.2), *_rest(RECIPE))
    result = train(recipe, TrainingOptions(tmp_path_factory.mktemp("runs") / "small"))
    assert result is not None
    return result


def _rest(recipe: Recipe) -> tuple[Any, ...]:
    return recipe.model, recipe.masking, recipe.optimizer, recipe.schedule, recipe.run


def test_the_card_tells_size_training_and_figures(trained: TrainingResult) -> None:
    card = ModelCard.load(trained.model / "README.md")
    assert card.data.pipeline_tag == "fill-mask"
    assert "# small" in card.text
    assert "1 layers of 16 units, 2 heads" in card.text
    assert "From random weights, 4 steps of 256 tokens" in card.text
    assert "16 tokens, then 32 tokens" in card.text
    assert "30%, then 15%" in card.text
    assert trained.held_out is not None
    assert f"masked perplexity {trained.held_out.perplexity:.1f}" in card.text


def test_licence_and_language_of_the_model_trained_on_from_go_along(trained: TrainingResult, tmp_path: Path) -> None:
    (trained.model / "README.md").write_text("---\nlicense: cc-by-sa-3.0\nlanguage: en\n---\n# source\n")
    sentences = Path(__file__).parents[3] / "examples" / "sentences.txt"
    recipe = Recipe(
        TokenizerRecipe(existing=str(trained.model)), CorpusRecipe((str(sentences),), held_out=0.2), *_rest(RECIPE)
    )
    result = train(recipe, TrainingOptions(tmp_path / "on", start=load_checkpoint(str(trained.model))))
    assert result is not None
    card = ModelCard.load(result.model / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-sa-3.0", "en")
    assert "From `model`, 4 steps" in card.text


def test_time_is_that_of_the_steps() -> None:
    entries = [{"step": 2, "tokens_per_second": 256.0}, {"step": 6, "tokens_per_second": 512.0}]
    assert training_seconds(RECIPE, entries) == pytest.approx(2 * 1 + 4 * 0.5)
