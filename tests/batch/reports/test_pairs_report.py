"""The report on minimal pairs: counted from the scored rows alone, and the same in its three forms."""

import json
import random
from typing import Any

import pyarrow as pa
import pytest

from maskedge_batch.errors import InputError
from maskedge_batch.evaluation.pairs import PairScoring
from maskedge_batch.reports import pairs as pairs_module
from maskedge_batch.reports.pairs import PairsReport, PairsRun, measure_pairs
from maskedge_batch.reports.pairs_rendering import pairs_html, pairs_json, pairs_markdown

RUN = PairsRun(
    input="in.parquet",
    output="out.parquet",
    scoring=PairScoring(),
    model="tiny",
    precision="int8",
    runtime="onnxruntime",
    fingerprint="f" * 64,
    versions={"maskedge": "1", "numpy": "2.0"},
    started="2020-01-02T03:04:05",
    wall_seconds=1.5,
)
TYPES: dict[str, Any] = {
    "sentence_good": pa.string(),
    "sentence_bad": pa.string(),
    "kind": pa.string(),
    "mlm_status": pa.string(),
    "mlm_margin": pa.float64(),
    "mlm_correct": pa.bool_(),
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    rng = random.Random(0)
    margins = [rng.choice([None, 0.0, rng.gauss(0.3, 1)]) for _ in range(300)]
    return [
        {
            "sentence_good": f"good {row}",
            "sentence_bad": f"bad {row}",
            "kind": rng.choice(["a", "b", "c", "d", "e", None]),
            "mlm_status": "null_text" if margin is None else "ok",
            "mlm_margin": margin,
            "mlm_correct": None if margin is None else margin > 0,
        }
        for row, margin in enumerate(margins)
    ]


def report_of(rows: list[dict[str, Any]], by: tuple[str, ...] = ("kind",), size: int = 64) -> PairsReport:
    table = pa.Table.from_pylist(rows, pa.schema(TYPES))
    return measure_pairs(iter(table.to_batches(max_chunksize=size)), RUN, by)


def test_it_counts_what_a_slow_loop_counts(rows: list[dict[str, Any]]) -> None:
    report = report_of(rows)
    assert report.overall is not None
    assert report.pairs == 300
    assert report.set_aside == {"null_text": sum(row["mlm_margin"] is None for row in rows)}
    (grouping,) = report.grouped
    for name, group in [*grouping.groups.items(), (None, report.overall)]:
        of = [row for row in rows if row["mlm_status"] == "ok" and name in (None, row["kind"] or "–")]  # noqa: RUF001
        assert group.pairs == len(of)
        assert group.correct == sum(row["mlm_margin"] > 0 for row in of)
        assert group.ties == sum(row["mlm_margin"] == 0 for row in of)
        assert group.value == group.correct / len(of)
    assert set(grouping.groups) == {"a", "b", "c", "d", "e", "–"}  # noqa: RUF001
    assert grouping.mean.value == pytest.approx(sum(group.value for group in grouping.groups.values()) / 6)


def test_it_is_the_same_however_the_rows_are_batched(rows: list[dict[str, Any]]) -> None:
    assert report_of(rows, size=7) == report_of(rows, size=300)


def test_it_shows_the_pairs_in_which_the_bad_sentence_was_preferred_most(rows: list[dict[str, Any]]) -> None:
    worst = sorted((row["mlm_margin"], number) for number, row in enumerate(rows) if (row["mlm_margin"] or 0) < 0)[:10]
    shown = report_of(rows).most_wrong
    assert [(one.margin, one.row) for one in shown] == worst
    assert [(one.good, one.bad) for one in shown] == [(f"good {row}", f"bad {row}") for _, row in worst]


def test_the_forms_say_the_same(rows: list[dict[str, Any]]) -> None:
    report = report_of(rows)
    assert report.overall is not None
    said = json.loads(pairs_json(report))
    assert said["overall"]["value"] == report.overall.value
    assert said["overall"]["interval"] == [*report.overall.interval]
    assert said["grouped"][0]["groups"]["a"]["pairs"] == report.grouped[0].groups["a"].pairs
    assert said["run"]["scoring"]["method"] == "within_word_l2r"
    for page in (pairs_html(report), pairs_markdown(report)):
        assert f"{report.overall.value:.1%}" in page
        assert "{:.1%} to {:.1%}".format(*report.overall.interval) in page
        for group in report.grouped[0].groups.values():
            assert f"{group.value:.1%}" in page
        assert report.most_wrong[0].good in page
        assert "maskedge 1, numpy 2.0" in page


def test_text_of_the_input_stays_text(rows: list[dict[str, Any]]) -> None:
    wicked = "<script>alert(1)</script> | *x*"
    report = report_of([{**rows[0], "sentence_good": wicked, "kind": wicked, "mlm_status": "ok", "mlm_margin": -1.0}])
    assert "<script>alert" not in pairs_html(report)
    assert "| *x*" not in pairs_markdown(report)


@pytest.mark.parametrize("aside", [False, True])
def test_no_scored_pair_makes_a_report_without_an_accuracy(aside: bool, rows: list[dict[str, Any]]) -> None:
    report = report_of([row for row in rows if row["mlm_margin"] is None] if aside else [])
    assert report.overall is None
    assert report.grouped == ()
    assert json.loads(pairs_json(report))["overall"] is None
    assert ("holds no pairs" in pairs_html(report)) is not aside
    assert ("holds no pairs" in pairs_markdown(report)) is not aside


def test_a_column_of_too_many_values_is_refused(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "MOST_GROUPS", 3)
    with pytest.raises(InputError, match="'kind' divides the pairs into more than 3 groups"):
        report_of(rows)
