"""What a sentence's batch-mates do to its score: found where they do something, and nothing where they do not."""

import json
from pathlib import Path

import pytest
from batch_mates import best_of, changes

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]
FIGURES = Path(__file__).parents[2] / "docs" / "results" / "batch_mates.json"


def test_scores_that_are_a_text_s_own_do_not_change() -> None:
    found = changes(lambda texts: [-0.1 * len(text) for text in texts], TEXTS, batch=2)
    assert found == {"same_bits": 1.0, "mean_difference": 0.0, "max_difference": 0.0}


def test_scores_that_depend_on_the_longest_text_beside_them_change_by_so_much() -> None:
    found = changes(lambda texts: [float(max(map(len, texts))) for _ in texts], TEXTS, batch=2)
    # (a bb) (ccc dddd) (eeeee): the first of each pair is scored as the second
    assert found == {"same_bits": 0.6, "mean_difference": pytest.approx(0.4), "max_difference": 1.0}


def test_every_text_is_scored_alone_and_once_among_others() -> None:
    asked: list[list[str]] = []

    def score(texts: list[str]) -> list[float]:
        asked.append(texts)
        return [0.0] * len(texts)

    changes(score, TEXTS, batch=3)
    assert asked == [*([text] for text in TEXTS), TEXTS[:3], TEXTS[3:]]


def test_a_pipeline_s_two_forms_are_read_alike() -> None:
    best = {"score": 0.5, "token": 7}
    assert best_of(best) == best_of([best]) == best


def test_the_figures_say_of_maskedge_that_its_bits_stay() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    rows = [
        row for kind in ("masks", "sentences") for name, row in figures[kind].items() if name.startswith("maskedge")
    ]
    assert rows
    assert all(row == {"same_bits": 1.0, "mean_difference": 0.0, "max_difference": 0.0} for row in rows)
