"""The calibration error against a case that is worked out by hand, and against an obvious loop."""

from collections.abc import Callable
from pathlib import Path

import pytest
from drawn_scores import Rows, drawn_rows, masked_row

from maskedge_batch.reports.calibration import BINS
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.report import Calibration

WriteScored = Callable[..., Path]


def of(path: Path) -> Calibration:
    report = make_report([path])
    assert report.masked is not None
    assert report.masked.calibration is not None
    return report.masked.calibration


def asked(probability: float, rank: int) -> dict[str, object]:
    guesses = [[{"token": 0, "token_str": "x", "score": probability}]]
    return masked_row([-1.0], mlm_predictions=guesses, mlm_target_rank=[rank])


def test_it_is_the_one_worked_out_by_hand(write_scored: WriteScored) -> None:
    # Bin 0.6 to 0.7: probabilities 0.6 and 0.64, one of two right: |0.5 - 0.62| = 0.12, weight 2/5.
    # Bin 0.9 to 1: 0.9, 0.98 and 1, all right: |1 - 0.96| = 0.04, weight 3/5. Together 0.048 + 0.024 = 0.072.
    rows = [asked(0.6, 1), asked(0.64, 2), asked(0.9, 1), asked(0.98, 1), asked(1.0, 1)]
    found = of(write_scored(rows))
    assert found.error == pytest.approx(0.072)
    assert [(one.low, one.high, one.masks) for one in found.bins] == [(0.6, 0.7, 2), (0.9, 1.0, 3)]
    assert [one.confidence for one in found.bins] == pytest.approx([0.62, 0.96])
    assert [one.accuracy.value for one in found.bins] == [0.5, 1.0]


def test_it_is_that_of_an_obvious_loop_over_targets_of_one_piece(write_scored: WriteScored) -> None:
    rows: Rows = drawn_rows(500, seed=3)
    masks = [
        (guesses[0]["score"], rank == 1)
        for row in rows
        for guesses, rank in zip(row.get("mlm_predictions") or [], row.get("mlm_target_rank") or [], strict=True)
        if rank is not None
    ]
    error = 0.0
    for number in range(BINS):
        own = [mask for mask in masks if min(int(mask[0] * BINS), BINS - 1) == number]
        if own:
            error += abs(sum(right for _, right in own) - sum(score for score, _ in own)) / len(masks)
    found = of(write_scored(rows))
    assert found.masks == len(masks)
    assert found.error == pytest.approx(error, rel=1e-12)
