"""A trained model and somebody's own text -> the model trained on with that text, and what it gained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_fabric.utilities.rank_zero import rank_zero_only

from maskedge_export.corpora.packing import PackedCorpus, prepare_corpus, training_documents
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.errors import CorpusError
from maskedge_export.evaluation.whole_words import MaskedWord, masked_words, word_losses
from maskedge_export.recipe import (
    CorpusRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    RunRecipe,
    ScheduleRecipe,
)
from maskedge_export.recipe_file import load_recipe
from maskedge_export.training.adaptation_report import write_report
from maskedge_export.training.before_after import BeforeAfter, compare_words, count_words_of
from maskedge_export.training.run_directory import RunDirectory
from maskedge_export.training.trainer import TrainingOptions, of_checkpoint, train

__all__ = ["Adaptation", "adapt", "adaptation_recipe", "load_adaptation_recipe"]

PASSES, MOST_STEPS = 3, 1000
"""Passes over the text, where that takes no more steps: about half an hour on two cores for a small model."""
HELD_OUT = 0.02
FEWEST_WORDS = 100
LENGTH = 128
"""Tokens of a row; as many as the checkpoint takes where that is fewer."""
UNKNOWN_LENGTH = 1 << 31
"""Of the texts that a checkpoint takes, before it is loaded."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """A model that was trained on with somebody's text, and what that changed."""

    model: Path
    """A Hugging Face checkpoint."""
    before_after: BeforeAfter


def adaptation_recipe() -> Recipe:
    """How a model is adapted where nothing else is asked for; the steps follow from how much text there is."""
    return Recipe(
        corpus=CorpusRecipe(held_out=HELD_OUT),
        model=ModelRecipe(max_length=UNKNOWN_LENGTH),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=5e-4),
        schedule=ScheduleRecipe(steps=MOST_STEPS, warmup=50, decay="linear", lengths=(LENGTH,)),
        run=RunRecipe(batch_tokens=8192, evaluate_every=100, save_every=100),
    )


def load_adaptation_recipe(path: Path) -> Recipe:
    """The recipe of a TOML file; what it leaves out is as in `adaptation_recipe`, and its tokenizer and model do not
    count: they are the checkpoint's. Raises RecipeError."""
    return load_recipe(path, adaptation_recipe(), ignored=("tokenizer", "model"))


def adapt(checkpoint: str, recipe: Recipe, options: TrainingOptions, *, steps: int | None = None) -> Adaptation | None:
    """Train a checkpoint on with the recipe's text, and write it to `out/model` beside `out/adaptation.json`, `.md` and
    `.png`: how much better than before it predicts words of that text that it was not trained on.

    Args:
        checkpoint: A directory or a Hub id.
        recipe: The text, and how to train on it; its tokenizer and model are the checkpoint's, whatever it says.
        options: Where the run is, and who is told about it; `start` is the checkpoint.
        steps: Steps of training; None for three passes over the text, but no more steps than the recipe has.

    Of several devices' processes, only the first returns what became of it.

    Raises CheckpointError or UnsupportedModelError for a checkpoint that cannot be trained, RecipeError for rows longer
    than it takes, and TrainingError, or one of its kinds, for a corpus or directory that cannot be used.
    """
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]  # the others start when the first has begun the run
        RunDirectory(options.out).check(resume=options.resume)
    source = load_checkpoint(checkpoint)
    source.native()  # refuses what cannot be trained before the corpus is read
    if recipe.schedule.lengths == (LENGTH,):
        recipe = replace(recipe, schedule=replace(recipe.schedule, lengths=(min(source.max_length, LENGTH),)))
    recipe = of_checkpoint(recipe, source)
    corpus = prepare_corpus(recipe, options.cache or options.out / "corpus", options.on_stage)
    recipe = replace(recipe, schedule=_schedule(recipe, corpus, steps))
    encoder = source.text_encoder
    words = masked_words(corpus.held_out, encoder)
    _check_enough(words, recipe)
    result = train(recipe, replace(options, start=source))
    if result is None:
        return None
    options.on_stage("Comparing before and after")
    before, after = (
        word_losses(load_checkpoint(model).native(), words, encoder.mask_id)
        for model in (checkpoint, str(result.model))
    )
    counts = count_words_of(training_documents(recipe), {word.word for word in words})
    comparison = compare_words(words, before, after, counts)
    write_report(comparison, source.name, options.out)
    return Adaptation(result.model, comparison)


def _check_enough(words: Sequence[MaskedWord], recipe: Recipe) -> None:
    if len(words) < FEWEST_WORDS:
        raise CorpusError(
            f"the text kept out of training has {len(words)} sentences to compare on; at least {FEWEST_WORDS} are "
            f"needed: give more text, or raise corpus.held_out, now {recipe.corpus.held_out:g}"
        )


def _schedule(recipe: Recipe, corpus: PackedCorpus, steps: int | None) -> ScheduleRecipe:
    per_pass = max(1, len(corpus.tokens) // recipe.run.batch_tokens)
    count = steps or min(PASSES * per_pass, recipe.schedule.steps)
    return replace(recipe.schedule, steps=count, warmup=min(recipe.schedule.warmup, max(1, count // 10)))
