"""What a step trains on: phases with lengths and rates of their own, and a warm start on next tokens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskedge_export.corpora.batches import Batches
from maskedge_export.corpora.masking import IGNORED
from maskedge_export.corpora.packing import PackedCorpus, prepare_corpus
from maskedge_export.recipe import (
    CorpusRecipe,
    MaskingRecipe,
    ModelRecipe,
    Recipe,
    RunRecipe,
    ScheduleRecipe,
    TokenizerRecipe,
)

STEPS = 40


@pytest.fixture(scope="module")
def recipe(sentences: Path) -> Recipe:
    return Recipe(
        tokenizer=TokenizerRecipe(vocab_size=300),
        corpus=CorpusRecipe(files=(str(sentences),)),
        model=ModelRecipe(max_length=64),
        schedule=ScheduleRecipe(
            steps=STEPS, warmup=4, lengths=(20, 40), length_shares=(0.75, 0.25), mask_rates=(0.4, 0.1), warm_start=0.5
        ),
        run=RunRecipe(batch_tokens=400),
    )


@pytest.fixture(scope="module")
def corpus(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    return prepare_corpus(recipe, tmp_path_factory.mktemp("cache"))


def change(recipe: Recipe, **options: Any) -> Recipe:
    return replace(recipe, schedule=replace(recipe.schedule, **options))


def test_each_phase_has_its_length_and_its_rate(recipe: Recipe, corpus: PackedCorpus) -> None:
    batches = Batches(corpus, change(recipe, warm_start=0.0))
    assert batches.batch(0).input_ids.shape == batches.batch(29).input_ids.shape == (20, 20)
    assert batches.batch(30).input_ids.shape == batches.batch(39).input_ids.shape == (10, 40)
    assert batches.batch(0).targets.shape == (20, 8)
    assert batches.batch(39).targets.shape == (10, 4)


def test_a_warm_start_mixes_causal_and_masked_rows_and_ends(recipe: Recipe, corpus: PackedCorpus) -> None:
    batches = Batches(corpus, recipe)
    warm = [batches.batch(step) for step in range(STEPS // 2)]
    causal = [batch for batch in warm if batch.causal]
    assert 4 <= len(causal) <= 16
    assert not any(batches.batch(step).causal for step in range(STEPS // 2, STEPS))
    plain = Batches(corpus, change(recipe, warm_start=0.0))
    for step, batch in enumerate(warm):
        if batch.causal:
            assert batch.targets.shape == (20, 19)
        else:
            assert (batch.mask_positions == plain.batch(step).mask_positions - 1).all()
            assert (
                batch.targets[batch.targets != IGNORED] == plain.batch(step).targets[batch.targets != IGNORED]
            ).all()


def test_shares_of_0_and_1_are_all_masked_and_all_causal(recipe: Recipe, corpus: PackedCorpus) -> None:
    for share, expected in ((0.0, False), (1.0, True)):
        batches = Batches(corpus, change(recipe, warm_start=1.0, causal_share=share))
        assert {batches.batch(step).causal for step in range(STEPS)} == {expected}


def test_phases_of_one_length_share_no_row_within_an_epoch(recipe: Recipe, corpus: PackedCorpus) -> None:
    seen = replace(recipe, masking=MaskingRecipe(mask_share=0.0, random_share=0.0))  # rows as they are
    halves = change(seen, steps=20, lengths=(20, 20), length_shares=(0.5, 0.5), mask_rates=(), warm_start=0.0)
    batches = Batches(corpus, halves)
    rows = [tuple(row) for step in range(20) for row in batches.batch(step).input_ids.tolist()]
    assert len(rows) == 400 < batches.phases[0].sampler.rows_per_epoch
    assert len(set(rows)) == len(rows)
