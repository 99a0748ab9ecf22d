"""The models that the demo offers, and when visitors' files go."""

import os
import time
from pathlib import Path

from maskedge import Predictor
from maskedge.demo.examples import EXAMPLES
from maskedge.demo.models import ONE_SENTENCE, open_models
from maskedge.demo.scored_files import FileScorer


def test_the_model_of_one_sentence_knows_it_by_heart() -> None:
    (example,) = [each for each in EXAMPLES if each.model]
    predictor = Predictor.load(ONE_SENTENCE)
    assert predictor.name == example.model
    words = example.text.split()
    masked = [" ".join([*words[:place], "[MASK]", *words[place + 1 :]]) for place in range(len(words))]
    assert [fill.masks[0].predictions[0].token_str for fill in predictor.fill(masked, top_k=1)] == words


def test_models_of_one_name_are_told_apart_by_their_place(bundle: Path, bundle_copy: Path) -> None:
    with open_models([bundle, bundle_copy]) as models:
        assert list(models) == ["tiny", f"tiny ({bundle_copy})"]
        assert [each.name for each in models.values()] == list(models)


def test_long_questions_leave_half_of_the_threads_to_short_ones(bundle: Path) -> None:
    with open_models([bundle]) as models:
        (model,) = models.values()
        assert model.slow.threads == max(1, model.predictor.threads // 2)
        assert model.slow.pool is not model.predictor.pool


def test_files_that_nobody_removed_are_removed_when_they_are_old(tmp_path: Path) -> None:
    old, new = tmp_path / "visit" / "old.parquet", tmp_path / "visit" / "new.parquet"
    old.parent.mkdir()
    for path, age in ((old, 901), (new, 850)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    FileScorer(tmp_path).remove_older(900)
    assert list(old.parent.iterdir()) == [new]
