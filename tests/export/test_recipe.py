"""Recipes: what is read, and what a mistake in one is answered with."""

from pathlib import Path

import pytest

from maskedge_export.errors import RecipeError
from maskedge_export.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def load(text: str, directory: Path) -> Recipe:
    (directory / "recipe.toml").write_text(text, encoding="utf-8")
    return load_recipe(directory / "recipe.toml")


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.stem)
def test_a_shipped_recipe_loads(file: Path) -> None:
    assert load_recipe(file).schedule.steps > 0


def test_keys_that_are_left_out_have_their_defaults(tmp_path: Path) -> None:
    recipe = load("[model]\nnum_layers = 2\n[optimizer]\nclip = 2\n", tmp_path)
    assert (recipe.model.num_layers, recipe.model.hidden_size) == (2, Recipe().model.hidden_size)
    assert recipe.optimizer.clip == 2.0
    assert isinstance(recipe.optimizer.clip, float)


def test_corpus_files_are_relative_to_the_recipe(tmp_path: Path) -> None:
    assert load('[corpus]\nfiles = ["a/*.txt"]\n', tmp_path).corpus.files == (str(tmp_path / "a/*.txt"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[optimizer]\nlerning_rate = 1.0",
            r"unknown key in \[optimizer\]: 'lerning_rate'; did you mean 'learning_r",
        ),
        ("[maskng]\nrate = 0.1", r"unknown section: 'maskng'; did you mean 'masking'"),
        ("[model]\nzzz = 1", r"unknown key in \[model\]: 'zzz'; known: layout, hidden_size"),
        ("run = 3", "'run' stands outside a section"),
        ('[run]\nseed = "x"', "run.seed is 'x'; give a whole number"),
        ("[run]\ncompile = 1", "run.compile is 1; give true or false"),
        ('[tokenizer]\nkind = "letters"', "tokenizer.kind is 'letters'; choose one of wordpiece, bpe, word"),
        ("[schedule]\nlengths = 64", "schedule.lengths is 64; give a list"),
        ("[schedule]\nlengths = [64, 128]", "one entry a phase"),
        ("[schedule]\nlengths = [1024]", r"schedule.lengths has 1024, longer than model.max_length 512"),
        ("[masking]\nmask_share = 0.9\nrandom_share = 0.2", "add up to at most 1"),
        ("[model]\nnum_heads = 7", "hidden_size 384 is no multiple of model.num_heads 7"),
        ("[run]\nbatch_tokens = 300\nmicro_batches = 3", "give a multiple of 384"),
        ('[corpus]\nfiles = ["a"]\ndataset = "b"', "exclude each other"),
        ("[model", "is no TOML"),
    ],
)
def test_a_mistake_is_one_error_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        load(text, tmp_path)
    assert "recipe.toml" in str(error.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read: No such file"):
        load_recipe(tmp_path / "none.toml")
