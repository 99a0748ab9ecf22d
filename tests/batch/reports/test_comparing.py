"""Comparisons against a slow and obvious loop over both files' rows; rows that do not match."""

import html
import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from drawn_scores import Rows, drawn_rows, masked_row, unmasked_row, write_scored_file

from maskedge_batch import InputError
from maskedge_batch.reports import tables
from maskedge_batch.reports.bootstrap import Estimate
from maskedge_batch.reports.comparing import make_comparison
from maskedge_batch.reports.comparison import ComparedKind, Comparison, Difference
from maskedge_batch.reports.comparison_rendering import as_html, as_json, as_markdown, verdict
from maskedge_batch.reports.wording import ratio_between, ratio_text

WriteScored = Callable[..., Path]
Change = tuple[int, float, float, int]
"""A row's number, the losses of A and B, and its units."""


def improved(rows: Rows, seed: int = 1) -> Rows:
    """The same rows, known a little better on average; some of their targets are not rated any more."""
    draw = random.Random(seed)
    changed = []
    for row in rows:
        one = dict(row)
        if row.get("mlm_pll") is not None:
            one["mlm_pll"] = row["mlm_pll"] * draw.uniform(0.4, 1.1)
        if row.get("mlm_target_logprob"):
            one["mlm_target_logprob"] = [
                None if logprob is None or draw.random() < 0.05 else logprob * draw.uniform(0.4, 1.3)
                for logprob in row["mlm_target_logprob"]
            ]
        changed.append(one)
    return changed


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory, rows = tmp_path_factory.mktemp("compared"), drawn_rows(500)
    a = write_scored_file(directory / "a.scored.parquet", rows, row_group_size=90)
    return a, write_scored_file(directory / "b.scored.parquet", improved(rows), model="other")


@pytest.fixture(scope="module")
def read(files: tuple[Path, Path]) -> tuple[Rows, Rows]:
    a, b = (pq.read_table(path).to_pylist() for path in files)
    return a, b


@pytest.fixture(scope="module")
def comparison(files: tuple[Path, Path]) -> Comparison:
    return make_comparison([files[0]], [files[1]], by=["genre"])


def masked_changes(a: Rows, b: Rows) -> list[Change]:
    changes = []
    for number, (one, other) in enumerate(zip(a, b, strict=True)):
        both = [
            pair
            for pair in zip(one["mlm_target_logprob"] or [], other["mlm_target_logprob"] or [], strict=True)
            if None not in pair
        ]
        if both:
            changes.append((number, -sum(x for x, _ in both), -sum(y for _, y in both), len(both)))
    return changes


def unmasked_changes(a: Rows, b: Rows) -> list[Change]:
    return [
        (number, -one["mlm_pll"], -other["mlm_pll"], one["mlm_word_count"])
        for number, (one, other) in enumerate(zip(a, b, strict=True))
        if one["mlm_pll"] is not None
    ]


def check(found: Difference, changes: list[Change]) -> None:
    units = sum(change[3] for change in changes)
    difference = sum(b - a for _, a, b, _ in changes) / units
    assert (found.rows, found.units) == (len(changes), units)
    assert found.perplexity_a == pytest.approx(math.exp(sum(a for _, a, _, _ in changes) / units), rel=1e-9)
    assert found.perplexity_b == pytest.approx(math.exp(sum(b for _, _, b, _ in changes) / units), rel=1e-9)
    assert found.difference.value == pytest.approx(difference, rel=1e-9)
    assert found.ratio.value == pytest.approx(math.exp(difference), rel=1e-9)
    assert found.b_better == sum((b - a) / n < -0.001 for _, a, b, n in changes) / len(changes)
    assert found.a_better == sum((b - a) / n > 0.001 for _, a, b, n in changes) / len(changes)


def of(comparison: Comparison, kind: str) -> ComparedKind:
    found: ComparedKind | None = getattr(comparison, kind)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["masked", "unmasked"])
def test_differences_are_those_of_an_obvious_loop(comparison: Comparison, read: tuple[Rows, Rows], kind: str) -> None:
    changes = (masked_changes if kind == "masked" else unmasked_changes)(*read)
    found = of(comparison, kind)
    check(found.overall, changes)
    groups = defaultdict(list)
    for change in changes:
        groups[read[0][change[0]]["genre"] or "(null)"].append(change)
    assert {group.label for group in found.breakdowns[0].groups} == set(groups)
    for group in found.breakdowns[0].groups:
        check(group.difference, groups[group.label])


@pytest.mark.parametrize("kind", ["masked", "unmasked"])
def test_the_rows_that_changed_most_are_those_of_a_full_sort(
    comparison: Comparison, read: tuple[Rows, Rows], kind: str
) -> None:
    changes = (masked_changes if kind == "masked" else unmasked_changes)(*read)
    order = sorted(changes, key=lambda change: (change[2] - change[1]) / change[3])
    found = of(comparison, kind)
    assert [change.a.row for change in found.improved] == [change[0] for change in order[:10]]
    assert [change.b.row for change in found.worsened] == [change[0] for change in order[:-11:-1]]
    for change, (_, a, b, units) in zip(found.improved, order, strict=False):
        assert change.difference == pytest.approx((b - a) / units)
        assert change.a.perplexity == pytest.approx(math.exp(a / units))
        assert change.b.perplexity == pytest.approx(math.exp(b / units))
        assert change.a.text == change.b.text == read[0][change.a.row]["text"]
    rows = [one.rows for one in found.histogram]
    assert sum(rows) == len(changes)
    assert sum(rows[:20]) == sum(b < a for _, a, b, _ in changes)


def test_ranges_of_rows_give_the_same_comparison_as_all_at_once(
    files: tuple[Path, Path], comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RANGE_ROWS", 47)
    assert make_comparison([files[0]], [files[1]], by=["genre"]) == comparison


def test_the_interval_is_that_of_resampling_rows_in_pairs(comparison: Comparison, read: tuple[Rows, Rows]) -> None:
    draw, changes = random.Random(5), masked_changes(*read)
    values = []
    for _ in range(1500):
        drawn = draw.choices(changes, k=len(changes))
        values.append(sum(b - a for _, a, b, _ in drawn) / sum(n for _, _, _, n in drawn))
    values.sort()
    low, high = values[37], values[1462]
    found = of(comparison, "masked").overall.difference
    assert found.low == pytest.approx(low, abs=0.12 * (high - low))
    assert found.high == pytest.approx(high, abs=0.12 * (high - low))


def test_it_says_which_is_better_and_that_no_difference_is_shown(
    comparison: Comparison, files: tuple[Path, Path]
) -> None:
    there = of(comparison, "unmasked").overall
    assert there.better == "B"
    assert re.fullmatch(r"B is better: perplexity ratio 0\.\d\d \(0\.\d\d to 0\.\d\d\)", verdict(there))
    back = of(make_comparison([files[1]], [files[0]]), "unmasked").overall
    assert back.better == "A"
    assert back.difference.value == pytest.approx(-there.difference.value)
    same = of(make_comparison([files[0]], [files[0]]), "masked").overall
    assert verdict(same) == "no difference shown: perplexity ratio 1.000 (1.000 to 1.000)"
    assert (same.a_better, same.b_better, same.better) == (0, 0, None)


def test_few_rows_tell_nothing(write_scored: WriteScored) -> None:
    a, b = write_scored([masked_row([-3.0])], "a"), write_scored([masked_row([-1.0])], "b")
    assert verdict(of(make_comparison([a], [b]), "masked").overall).startswith("too few rows to tell")


def test_models_of_different_tokenizers_are_compared_per_word(write_scored: WriteScored) -> None:
    a = write_scored([unmasked_row(-6.0, tokens=4, words=3)] * 20, "a")
    b = write_scored([unmasked_row(-3.0, tokens=9, words=3)] * 20, "b")
    found = of(make_comparison([a], [b]), "unmasked")
    assert found.unit == "word"
    assert found.overall.ratio.value == pytest.approx(math.exp(-1))


@pytest.mark.parametrize(("tokens", "unit"), [(4, "token"), (9, None)])
def test_without_words_tokens_must_be_the_same(write_scored: WriteScored, tokens: int, unit: str | None) -> None:
    lacking = ("mlm_word_count",)
    a = write_scored([unmasked_row(-6.0, tokens=4)] * 20, "a", without=lacking)
    b = write_scored([unmasked_row(-3.0, tokens=tokens)] * 20, "b", without=lacking)
    found = make_comparison([a], [b])
    assert (found.unmasked and found.unmasked.unit) == unit
    assert bool(found.notes) == (unit is None)


def test_rows_are_matched_by_a_key_in_any_order(write_scored: WriteScored, files: tuple[Path, Path]) -> None:
    rows = drawn_rows(500)
    order = list(range(500))
    random.Random(0).shuffle(order)
    changed = improved(rows)
    b = write_scored([changed[place] for place in order if place % 50], "b")
    found = make_comparison([files[0]], [b], key="id")
    assert (found.rows, found.rows_only_a, found.rows_only_b) == (490, 10, 0)
    a, other = ([row for row in part if row["id"] % 50] for part in (
        pq.read_table(files[0]).to_pylist(), pq.read_table(files[1]).to_pylist(),
    ))  # fmt: skip
    changes = masked_changes(a, other)
    check(of(found, "masked").overall, changes)
    for change in of(found, "masked").improved:
        assert change.a.text == change.b.text


def test_a_probability_of_zero_is_infinitely_worse(write_scored: WriteScored) -> None:
    rows = [masked_row([-1.0]) for _ in range(30)]
    a = write_scored([*rows, masked_row([-math.inf], mlm_perplexity=math.inf)], "a")
    b = write_scored([*rows, masked_row([-math.inf], mlm_perplexity=math.inf)], "b")
    better = write_scored([*rows, masked_row([-9.0])], "better")
    both = of(make_comparison([a], [b]), "masked").overall
    assert (both.rows, both.difference.value) == (30, 0)  # what both rule out tells nothing
    one = make_comparison([a], [better])
    found = of(one, "masked").overall
    assert (found.perplexity_a, found.difference.value, found.ratio.value) == (math.inf, -math.inf, 0)
    assert of(one, "masked").improved[0].difference == -math.inf
    for page in (as_html(one), as_markdown(one)):
        assert "∞" in page
    assert json.loads(as_json(one))["masked"]["overall"]["difference"]["value"] is None


def refused(a: Path, b: Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        make_comparison([a], [b], **options)
    return str(error.value)


def test_rows_that_do_not_match_are_refused_by_the_first(write_scored: WriteScored) -> None:
    texts = [f"{word} [MASK] ." for word in ("one", "two", "three", "four")]
    rows = [masked_row([-1.0], text=text, id=number + 10) for number, text in enumerate(texts)]
    others = [dict(row) for row in rows]
    others[2]["text"] = others[3]["text"] = "other [MASK] ."
    a, b = write_scored(rows, "a"), write_scored(others, "b")
    assert "different texts in row 2 (the first is 0)" in refused(a, b)
    assert "different texts in the row whose id is '12', 2 of the first and 2 of the second" in refused(a, b, key="id")
    targets = write_scored([{**row, "target": ["another"]} for row in rows], "targets")
    assert "different targets in row 0" in refused(a, targets)
    fewer = write_scored(rows[:3], "fewer")
    assert f"{a} has 4 rows and {fewer} 3" in refused(a, fewer)
    twice = write_scored([*rows, rows[1]], "twice")
    assert "The second has more than one row whose id is '11'" in refused(a, twice, key="id")
    assert "no column 'number'" in refused(a, b, key="number")


def test_methods_that_differ_are_said(write_scored: WriteScored) -> None:
    a = write_scored([unmasked_row(-6.0)] * 20, "a")
    b = write_scored([unmasked_row(-5.0)] * 20, "b", options={"method": "whole_word"})
    (note,) = make_comparison([a], [b]).notes
    assert "original and whole_word" in note


def test_every_form_shows_the_same_numbers(comparison: Comparison) -> None:
    told = json.loads(as_json(comparison))
    pages = [html.unescape(as_html(comparison)), as_markdown(comparison)]
    for kind in ("masked", "unmasked"):
        found = of(comparison, kind).overall
        assert told[kind]["overall"]["ratio"]["value"] == found.ratio.value
        assert (told[kind]["better"], told[kind]["verdict"]) == (found.better, verdict(found))
        for page in pages:
            assert verdict(found) in page
            assert f"{100 * found.b_better:.1f}%" in page
    for page in pages:
        assert all(definition in page for definition in comparison.definitions.values())
        assert "fiction" in page


def test_a_comparison_is_the_same_each_time(files: tuple[Path, Path], comparison: Comparison) -> None:
    assert as_json(make_comparison([files[0]], [files[1]], by=["genre"])) == as_json(comparison)


def test_a_tiny_ratio_is_no_row_of_zeros() -> None:
    tiny = Estimate(3.4e-5, 2.42e-7, 4.9e-5)
    assert (ratio_text(tiny), ratio_between(tiny)) == ("3.4e-05", "2.4e-07 to 4.9e-05")
