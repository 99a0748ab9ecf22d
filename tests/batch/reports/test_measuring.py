"""Every figure against a slow and obvious loop over the rows; files that are none, or do not belong together."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from drawn_scores import Rows, drawn_rows, masked_row, unmasked_row, write_scored_file

from maskedge_batch import InputError, WriteError
from maskedge_batch.reports import tables
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.rendering import as_html, as_json, as_markdown
from maskedge_batch.reports.report import Breakdown, MaskedFigures, Report, UnmaskedFigures

WriteScored = Callable[..., Path]

Mask = dict[str, Any]


def masks_of(rows: Rows) -> list[Mask]:
    """Each mask with a rated target, and what belongs to it."""
    found = []
    for number, row in enumerate(rows):
        for place, logprob in enumerate(row["mlm_target_logprob"] or []):
            if logprob is not None:
                found.append(
                    {
                        "row": number,
                        "logprob": logprob,
                        "rank": row["mlm_target_rank"][place],
                        "pieces": row["mlm_target_pieces"][place],
                        "top": row["mlm_predictions"][place][0]["score"],
                        "word": row["target"][place].lower(),
                        "tokens": row["mlm_token_count"],
                        "genre": row["genre"],
                    }
                )
    return found


def check_masked(figures: MaskedFigures | UnmaskedFigures | None, masks: list[Mask]) -> None:
    assert isinstance(figures, MaskedFigures)
    entropy = -sum(mask["logprob"] for mask in masks) / len(masks)
    ranks = [math.inf if mask["rank"] is None else mask["rank"] for mask in masks]  # several pieces: missed
    assert (figures.targets, figures.rows) == (len(masks), len({mask["row"] for mask in masks}))
    assert figures.cross_entropy.value == pytest.approx(entropy, rel=1e-12)
    assert figures.perplexity.value == pytest.approx(math.exp(entropy), rel=1e-10)
    assert {each.k: each.share.value for each in figures.accuracies} == pytest.approx(
        {k: sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5)}
    )


def check_unmasked(figures: MaskedFigures | UnmaskedFigures, rows: Rows) -> None:
    assert isinstance(figures, UnmaskedFigures)
    loss = -sum(row["mlm_pll"] for row in rows)
    tokens, words, characters = (
        sum(row[f"mlm_{unit}_count"] for row in rows) for unit in ("token", "word", "character")
    )
    assert (figures.rows, figures.tokens, figures.words, figures.characters) == (len(rows), tokens, words, characters)
    assert figures.pll == pytest.approx(-loss, rel=1e-12)
    assert figures.pseudo_perplexity.value == pytest.approx(math.exp(loss / tokens), rel=1e-10)
    assert figures.pseudo_perplexity_per_word is not None
    assert figures.pseudo_perplexity_per_word.value == pytest.approx(math.exp(loss / words), rel=1e-10)
    assert figures.bits_per_character is not None
    assert figures.bits_per_character.value == pytest.approx(loss / characters / math.log(2), rel=1e-10)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return drawn_rows(600)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> Path:
    return write_scored_file(tmp_path_factory.mktemp("drawn") / "drawn.scored.parquet", rows, row_group_size=70)


@pytest.fixture(scope="module")
def read(path: Path) -> Rows:
    """The rows as they stand in the file."""
    return pq.read_table(path).to_pylist()


@pytest.fixture(scope="module")
def report(path: Path) -> Report:
    return make_report([path], by=["genre"])


def breakdown(found: Iterable[Breakdown], title: str) -> Breakdown:
    return next(each for each in found if title in each.title)


def check_groups(
    found: Breakdown, items: list[Any], label: Callable[[Any], str], check: Callable[[Any, list[Any]], None]
) -> None:
    expected = defaultdict(list)
    for item in items:
        expected[label(item)].append(item)
    assert sorted(group.label for group in found.groups) == sorted(expected)
    for group in found.groups:
        check(group.figures, expected[group.label])


def span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first:,} to {last:,}"


def length_label(tokens: int) -> str:
    first = max(2**power for power in range(8) if 2**power <= tokens)
    return span(first, 2 * first - 1)


def test_counts_are_those_of_an_obvious_loop(report: Report, read: Rows) -> None:
    statuses = Counter(row["mlm_status"] for row in read)
    assert (report.rows, report.rows_ok) == (600, statuses.pop("ok"))
    assert report.set_aside == statuses
    assert list(report.set_aside.values()) == sorted(statuses.values(), reverse=True)


def test_figures_at_masks_are_those_of_an_obvious_loop(report: Report, read: Rows) -> None:
    masks = masks_of(read)
    entropies = [entropy for row in read for entropy in row["mlm_entropy"] or []]
    found = report.masked
    assert found is not None
    assert found.masks == len(entropies)
    assert found.mean_entropy.value == pytest.approx(sum(entropies) / len(entropies), rel=1e-12)
    check_masked(found.overall, masks)
    check_masked(found.single_piece, [mask for mask in masks if mask["pieces"] == 1])
    check_masked(found.several_pieces, [mask for mask in masks if mask["pieces"] > 1])


def test_figures_of_texts_without_masks_are_those_of_an_obvious_loop(report: Report, read: Rows) -> None:
    assert report.unmasked is not None
    check_unmasked(report.unmasked.overall, [row for row in read if row["mlm_pll"] is not None])


def test_groups_are_those_of_an_obvious_loop(report: Report, read: Rows) -> None:
    masks, unmasked = masks_of(read), [row for row in read if row["mlm_pll"] is not None]
    assert report.masked is not None
    assert report.unmasked is not None
    found = report.masked.breakdowns
    check_groups(breakdown(found, "by genre"), masks, lambda mask: mask["genre"] or "(null)", check_masked)
    check_groups(breakdown(found, "length"), masks, lambda mask: length_label(mask["tokens"]), check_masked)
    check_groups(
        breakdown(found, "pieces"), masks, lambda mask: str(mask["pieces"]) if mask["pieces"] < 4 else "4 or more",
        check_masked,
    )  # fmt: skip
    found = report.unmasked.breakdowns
    check_groups(breakdown(found, "by genre"), unmasked, lambda row: row["genre"] or "(null)", check_unmasked)
    check_groups(breakdown(found, "length"), unmasked, lambda row: length_label(row["mlm_token_count"]), check_unmasked)


def test_groups_of_a_column_stand_in_the_order_of_their_perplexity(report: Report) -> None:
    assert report.masked is not None
    values = [
        group.figures.perplexity.value
        for group in breakdown(report.masked.breakdowns, "by genre").groups
        if isinstance(group.figures, MaskedFigures)
    ]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


def test_words_are_counted_in_the_texts_around_the_masks(report: Report, read: Rows) -> None:
    times: Counter[str] = Counter()
    for row in read:
        if row["mlm_token_count"] is not None:
            times.update(re.findall(r"\w+", row["text"].lower()))

    def label(mask: Mask) -> str:
        count = times[mask["word"]]
        digits = len(str(count))
        return span(10 ** (digits - 1), 10**digits - 1) if count else "nowhere else"

    assert report.masked is not None
    found = breakdown(report.masked.breakdowns, "frequency")
    check_groups(found, masks_of(read), label, check_masked)
    assert "nowhere else" in [group.label for group in found.groups]


def test_the_extremes_and_the_spread_are_those_of_a_full_sort(report: Report, read: Rows) -> None:
    for metrics, kind in ((report.masked, "mlm_entropy"), (report.unmasked, "mlm_pll")):
        assert metrics is not None
        spread = metrics.spread
        assert spread is not None
        rated = [row for row in read if row[kind] is not None and row["mlm_perplexity"] is not None]
        order = sorted(rated, key=lambda row: (row["mlm_perplexity"], row["id"]))
        assert [one.row for one in spread.easiest] == [row["id"] for row in order[:10]]
        order.sort(key=lambda row: (-row["mlm_perplexity"], row["id"]))
        assert [one.row for one in spread.hardest] == [row["id"] for row in order[:10]]
        assert [one.perplexity for one in spread.hardest] == [row["mlm_perplexity"] for row in order[:10]]
        assert [one.text for one in spread.hardest] == [row["text"] for row in order[:10]]
        assert [list(one.targets) for one in spread.hardest] == [row["target"] or [] for row in order[:10]]
        assert (spread.rows, sum(one.rows for one in spread.histogram)) == (len(order), len(order))
        for one in spread.histogram:
            assert one.rows == sum(one.low <= row["mlm_perplexity"] < one.high for row in order)
        for share, value in spread.quantiles.items():
            below = sum(row["mlm_perplexity"] <= value for row in order) / len(order)
            assert below == pytest.approx(float(share.rstrip(" %")) / 100, abs=1 / len(order))


def test_parts_of_any_size_give_the_same_report_as_one_file(
    write_scored: WriteScored, rows: Rows, path: Path, report: Report, tmp_path: Path
) -> None:
    (tmp_path / "dataset" / "_mlm").mkdir(parents=True)
    (tmp_path / "dataset" / "_mlm" / "part.parquet").write_bytes(b"no Parquet")
    for number, (start, stop) in enumerate([(0, 1), (1, 1), (1, 350), (350, 600)]):
        part = write_scored(rows[start:stop], f"part-{number:05}", row_group_size=13)
        part.rename(tmp_path / "dataset" / part.name)
    found = make_report([tmp_path / "dataset"], by=["genre"])
    assert replace(found, title=report.title, files=report.files) == report


def test_ranges_of_rows_give_the_same_report_as_all_at_once(
    path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RANGE_ROWS", 47)
    assert make_report([path], by=["genre"]) == report


def test_a_lack_of_room_is_told_in_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MEMORY", "1MB")
    with pytest.raises(WriteError, match=r"could not be worked out in /.*Make room there.*TMPDIR"):
        make_report([path])


def test_a_report_is_the_same_each_time(path: Path) -> None:
    assert as_json(make_report([path])) == as_json(make_report([path]))


def test_infinite_and_missing_numbers_are_said_as_such(write_scored: WriteScored) -> None:
    masked = [masked_row([-1.0]), masked_row([-math.inf], mlm_perplexity=math.inf), masked_row([math.nan])]
    unmasked = [unmasked_row(-1e30, mlm_perplexity=math.inf), unmasked_row(-3.0)]
    report = make_report([write_scored([*masked, *unmasked])])
    assert report.masked is not None
    assert report.masked.overall is not None
    assert report.unmasked is not None
    assert report.masked.overall.perplexity.value == report.unmasked.overall.pseudo_perplexity.value == math.inf
    assert report.masked.overall.targets == 2
    assert '"pll": null' in as_json(report)
    for shown in (as_html(report), as_markdown(report)):
        assert "∞" in shown
        assert "nan" not in shown.lower().replace("n</", "")


def test_an_interval_may_reach_to_infinity(write_scored: WriteScored) -> None:
    rows = [masked_row([-1.0]) for _ in range(60)] + [masked_row([-math.inf], mlm_perplexity=math.inf)]
    report = make_report([write_scored(rows)])
    assert report.masked is not None
    assert report.masked.overall is not None
    estimate = report.masked.overall.perplexity
    assert estimate.low == pytest.approx(math.e)  # a third of the resamples lack the row
    assert estimate.high == math.inf


def test_few_rows_have_no_interval(write_scored: WriteScored) -> None:
    report = make_report([write_scored([masked_row([-1.0]), masked_row([-2.0])])])
    assert report.masked is not None
    assert report.masked.overall is not None
    estimate = report.masked.overall.cross_entropy
    assert (estimate.value, estimate.low, estimate.high) == (1.5, None, None)


def test_files_of_earlier_versions_leave_out_what_they_lack(write_scored: WriteScored) -> None:
    lacking = ("mlm_target_pieces", "mlm_word_count", "mlm_character_count", "mlm_tokens")
    report = make_report([write_scored([masked_row([-1.0, None]), unmasked_row(-8.0)], without=lacking)])
    assert report.masked is not None
    assert report.unmasked is not None
    assert report.masked.single_piece == report.masked.overall
    assert report.masked.several_pieces is None
    assert report.unmasked.overall.pseudo_perplexity.value == pytest.approx(math.exp(2))
    assert report.unmasked.overall.pseudo_perplexity_per_word is report.unmasked.overall.bits_per_character is None
    assert "per word" not in as_markdown(report).split("## Definitions")[0].replace("per target word", "")


def test_without_predictions_there_is_no_calibration(write_scored: WriteScored) -> None:
    rows = [masked_row([-1.0], mlm_predictions=None), masked_row([-1.0], mlm_predictions=[[]])]
    report = make_report([write_scored(rows, options={"top_k": None})])
    assert report.masked is not None
    assert report.masked.calibration is None
    assert report.masked.overall is not None


def test_the_rest_of_many_groups_is_counted(write_scored: WriteScored) -> None:
    rows = [masked_row([-1.0], id=number % 45 if number < 45 else 0) for number in range(100)]
    report = make_report([write_scored(rows)], by=["id"])
    assert report.masked is not None
    found = breakdown(report.masked.breakdowns, "by id")
    assert len(found.groups) == 30
    assert (found.groups_left_out, found.rows_left_out) == (15, 15)
    assert "0" in [group.label for group in found.groups]
    for shown in (as_html(report), as_markdown(report)):
        assert "15 more groups with 15 rows are left out" in shown


def test_zero_rows_have_a_report(write_scored: WriteScored) -> None:
    report = make_report([write_scored([])], by=["genre"])
    assert (report.rows, report.masked, report.unmasked) == (0, None, None)
    assert "holds no rows" in as_html(report)


@pytest.mark.parametrize(
    ("by", "message"),
    [("topic", "no column 'topic'"), ("target", "'target' holds list<element: string>, which names no group")],
)
def test_a_column_that_names_no_groups_is_refused(write_scored: WriteScored, by: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make_report([write_scored([masked_row([-1.0])])], by=[by])


def test_what_is_no_scored_file_is_refused(write_scored: WriteScored, tmp_path: Path) -> None:
    scored = write_scored([masked_row([-1.0])])
    plain = tmp_path / "plain.parquet"
    pq.write_table(pq.read_table(scored).replace_schema_metadata({}), plain)
    with pytest.raises(InputError, match=r"plain.parquet is not a scored file.*Score it with mlm-batch score"):
        make_report([plain])
    with pytest.raises(InputError, match=r"There is no file .*none.parquet"):
        make_report([tmp_path / "none.parquet"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no files to read: their names end in \.parquet"):
        make_report([tmp_path / "empty"])
    with pytest.raises(InputError, match=r"lacks the column 'mlm_status'"):
        make_report([write_scored([masked_row([-1.0])], without=("mlm_status",))])


def test_files_of_different_jobs_are_refused(write_scored: WriteScored) -> None:
    one = write_scored([masked_row([-1.0])], "one")
    other = write_scored([masked_row([-1.0])], "other", precision="int8")
    with pytest.raises(InputError, match=r"one.scored.parquet and .*other.scored.parquet were scored by different"):
        make_report([one, other])


def test_a_damaged_file_is_named(write_scored: WriteScored, rows: Rows) -> None:
    path = write_scored(rows, row_group_size=70)
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(2).column(0)
    data[chunk.data_page_offset : chunk.data_page_offset + 40] = b"\0" * 40
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"drawn.scored.parquet cannot be read as a Parquet file"):
        make_report([path])
