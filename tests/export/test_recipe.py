"""Recipes: what is read, and what a mistake in one is answered with."""

from dataclasses import replace
from pathlib import Path

import pytest

from maskedge_export.errors import RecipeError
from maskedge_export.recipe import ModelRecipe, OptimizerRecipe, Recipe
from maskedge_export.recipe_file import load_recipe

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


def test_heads_of_an_odd_size_are_for_learned_positions(tmp_path: Path) -> None:
    assert load('[model]\nlayout = "bert"\nhidden_size = 18\n', tmp_path).model.num_heads == 6


def test_keys_that_are_left_out_are_the_base_s_and_ignored_sections_whole(tmp_path: Path) -> None:
    base = Recipe(optimizer=OptimizerRecipe(name="adamw", clip=3.0), model=ModelRecipe(max_length=4096))
    (tmp_path / "recipe.toml").write_text(
        "[optimizer]\nmomentum = 0.5\n[model]\nmax_length = 8\n[schedule]\nlengths = [1024]\n"
    )
    recipe = load_recipe(tmp_path / "recipe.toml", base, ignored=("model",))
    assert recipe.optimizer == OptimizerRecipe(name="adamw", clip=3.0, momentum=0.5)
    assert recipe.model == base.model


def test_corpus_files_are_relative_to_the_recipe(tmp_path: Path) -> None:
    assert load('[corpus]\nfiles = ["a/*.txt"]\n', tmp_path).corpus.files == (str(tmp_path / "a/*.txt"),)


def test_a_start_is_relative_to_the_recipe_where_it_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "encoder").mkdir()
    assert load('[model]\nstart = "../encoder"\n', tmp_path / "recipes").model.start.endswith("recipes/../encoder")
    assert load('[model]\nstart = "org/name"\n', tmp_path / "recipes").model.start == "org/name"


def test_shares_wait_for_the_command_s_text(tmp_path: Path) -> None:
    corpus = load("[corpus]\nshares = [1.0, 0.5]\n", tmp_path).corpus
    assert replace(corpus, files=("a", "b")).shares == (1.0, 0.5)
    with pytest.raises(RecipeError, match=r"corpus\.shares has 2 numbers for 1 files or globs of text"):
        replace(corpus, files=("a",))


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
        ("[masking]\nword_ends = true", "masking.word_ends are of whole words; set masking.whole_word too"),
        ("[model]\nnum_heads = 7", "hidden_size 384 is no multiple of model.num_heads 7"),
        ("[run]\nbatch_tokens = 300\nmicro_batches = 3", "give a multiple of 384"),
        ('[corpus]\nfiles = ["a"]\ndataset = "b"', "exclude each other"),
        ("[model", "is no TOML"),
        ("[schedule]\nlengths = [0]", "schedule.lengths is 0; give at least 3"),
        ("[schedule]\nlengths = [2]", "schedule.lengths is 2; give at least 3"),
        ("[model]\nnum_heads = 0", "model.num_heads is 0; give at least 1"),
        ("[model]\nhidden_size = 0", "model.hidden_size is 0; give at least 1"),
        ("[model]\nnum_layers = 0", "model.num_layers is 0; give at least 1"),
        ("[model]\nhidden_size = 18", "make heads of 3; rotary positions need an even number"),
        ("[schedule]\nsteps = 20\nwarmup = 21", "schedule.warmup is 21; give 0 to 20"),
        ("[optimizer]\nlearning_rate = -1e-3", "optimizer.learning_rate is -0.001; give at least 0"),
        ("[optimizer]\nmuon_learning_rate = nan", "optimizer.muon_learning_rate is nan; give at least 0"),
        ("[optimizer]\nlearning_rate = inf", "optimizer.learning_rate is inf"),
        ("[optimizer]\nbetas = [0.9, 1.0]", "optimizer.betas is 1.0; give 0 to below 1"),
        ("[optimizer]\nbetas = [0.9]", "optimizer.betas has 1 numbers; give 2"),
        ("[schedule]\nlengths = [8, 16]\nlength_shares = [1.5, -0.5]", "schedule.length_shares is 1.5; give 0 to 1"),
        ("[schedule]\ndecay_share = 1.1", "schedule.decay_share is 1.1; give 0 to 1"),
        ("[run]\nthreads = -1", "run.threads is -1; give at least 0"),
        ("[run]\nmicro_batches = 0", "run.micro_batches is 0; give at least 1"),
        ("[masking]\nrate = 1.0", "masking.rate is 1.0; give above 0 to below 1"),
        ("[tokenizer]\nsample = 0.0", "tokenizer.sample is 0.0; give above 0 to 1"),
        ('[corpus]\nfiles = ["a", "b"]\nshares = [1]', "corpus.shares has 1 numbers for 2 files or globs of text"),
        ('[corpus]\ndataset = "a"\nshares = [1]', "corpus.shares are of corpus.files, and exclude corpus.dataset"),
        ('[corpus]\nfiles = ["a"]\nshares = [-1]', "corpus.shares is -1.0; give at least 0"),
        ('[model]\nstart = "a/b"\nnum_layers = 3', "model.start brings its own .*; leave out model.num_layers"),
        ('[model]\nstart = "a/b"\n[tokenizer]', r"model.start brings its own .*; leave out \[tokenizer\]"),
        ("[model]\nstart = 3", "model.start is 3; give a string"),
        ("[corpus]\nheld_out = 1.0", "corpus.held_out is 1.0; give 0 to below 1"),
    ],
)
def test_a_mistake_is_one_error_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        load(text, tmp_path)
    assert "recipe.toml" in str(error.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read: No such file"):
        load_recipe(tmp_path / "none.toml")
