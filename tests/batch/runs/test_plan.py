"""A plan holds every row once, in order, in shards of bounded work."""

import json
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskedge_batch.runs.fingerprint import Fingerprint
from maskedge_batch.runs.plan import Piece, Plan, RowGroup, Shard, cut

GROUPS = st.builds(RowGroup, st.integers(0, 50), st.integers(0, 500))


@given(st.lists(st.lists(GROUPS, max_size=6), max_size=5), st.integers(1, 60), st.integers(1, 600))
def test_every_row_is_in_one_shard_in_the_order_of_the_input(
    files: list[list[RowGroup]], shard_rows: int, shard_bytes: int
) -> None:
    shards = cut(files, shard_rows, shard_bytes)
    rows = [(file, row) for file, groups in enumerate(files) for row in range(sum(group.rows for group in groups))]
    pieces = [piece for shard in shards for piece in shard.pieces]
    assert [(piece.file, row + piece.first_row) for piece in pieces for row in range(piece.rows)] == rows
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert [shard.first_row for shard in shards] == list(accumulate((shard.rows for shard in shards), initial=0))[:-1]
    assert all(shard.rows <= shard_rows for shard in shards)


def test_many_tiny_row_groups_are_joined() -> None:
    shards = cut([[RowGroup(3, 90)] * 10_000], shard_rows=10_000)
    assert [shard.rows for shard in shards] == [9_999, 9_999, 9_999, 3]
    assert shards[1].pieces == (Piece(0, 9_999, 9_999),)


def test_many_tiny_files_are_joined() -> None:
    (shard,) = cut([[RowGroup(2, 60)]] * 100)
    assert [piece.file for piece in shard.pieces] == list(range(100))


def test_one_huge_row_group_is_divided_evenly() -> None:
    shards = cut([[RowGroup(1_000_000, 0)]], shard_rows=300_000)
    assert [shard.rows for shard in shards] == [250_000] * 4


def test_long_texts_make_shards_of_fewer_rows() -> None:
    shards = cut([[RowGroup(1_000, 1_000_000)]], shard_rows=10_000, shard_bytes=100_000)
    assert [shard.rows for shard in shards] == [100] * 10


def test_row_groups_that_fit_are_kept_whole() -> None:
    shards = cut([[RowGroup(60, 0)] * 3], shard_rows=100)
    assert [shard.rows for shard in shards] == [60] * 3


@pytest.mark.parametrize("files", [[], [[]], [[RowGroup(0, 0)]]], ids=["no file", "no row group", "an empty row group"])
def test_no_rows_are_one_shard_that_carries_the_schema(files: list[list[RowGroup]]) -> None:
    assert cut(files) == (Shard(0, (), 0),)


def test_a_plan_comes_back_from_disk_as_it_was() -> None:
    plan = Plan(Fingerprint({"--top-k": 5, "--target-column": None}), cut([[RowGroup(7, 0)], [RowGroup(9, 0)]], 10))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', '{"format": 1, "fingerprint": {}}', "null"])
def test_what_is_no_plan_is_none(text: str) -> None:
    assert Plan.from_json(text) is None


def test_a_plan_on_disk_is_plain_json() -> None:
    plan = Plan(Fingerprint({"--top-k": 5}), (Shard(0, (Piece(0, 0, 3),), 0),))
    assert json.loads(plan.to_json())["shards"] == [
        {"number": 0, "pieces": [{"file": 0, "first_row": 0, "rows": 3}], "first_row": 0}
    ]


def test_a_fingerprint_says_what_differs() -> None:
    was = Fingerprint({"--predictions": 5, "pyarrow": "22.0", "--target-column": None, "gone": 1})
    now = Fingerprint({"--predictions": 7, "pyarrow": "22.0", "--target-column": "word", "new": 1})
    assert was.differences(now) == (
        "--predictions was 5 and is 7",
        "--target-column was not given and is word",
        "gone is gone",
        "new is new",
    )
    assert was.differences(was) == ()
    assert was.digest != now.digest
    assert was.digest == Fingerprint(dict(sorted(was.parts.items(), reverse=True))).digest
