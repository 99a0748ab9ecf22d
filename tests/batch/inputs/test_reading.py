"""Reading: batches of bounded size whatever the file's row groups are."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from maskedge_batch.inputs.parquet import BATCH_ROWS, open_parquet

pytestmark = pytest.mark.slow

WriteInput = Callable[..., Path]


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_ten_thousand_tiny_row_groups_are_joined(write_input: WriteInput, kind: pa.DataType) -> None:
    texts = [f"text {i % 700}" for i in range(20_000)]
    path = write_input({"text": pa.array(texts).cast(kind)}, row_group_size=2)
    with open_parquet(path) as source:
        assert source.parquet.num_row_groups == 10_000
        batches = list(source.batches())
    assert len(batches) == 20_000 // BATCH_ROWS
    assert pa.Table.from_batches(batches)["text"].to_pylist() == texts


def test_one_huge_row_group_is_divided(write_input: WriteInput) -> None:
    path = write_input({"id": range(50_000)}, row_group_size=50_000)
    with open_parquet(path) as source:
        sizes = [batch.num_rows for batch in source.batches()]
    assert max(sizes) <= BATCH_ROWS
    assert sum(sizes) == 50_000


def test_wide_rows_are_read_fewer_at_a_time(write_input: WriteInput) -> None:
    wide = "".join(map(chr, range(33, 127))) * 10_000  # 940 kB
    path = write_input({"text": [f"{i}{wide}" for i in range(200)]}, row_group_size=200, use_dictionary=False)
    with open_parquet(path) as source:
        assert max(batch.nbytes for batch in source.batches()) < 100 << 20


def test_columns_of_every_kind_pass_through(write_input: WriteInput) -> None:
    table = pa.table(
        {
            "text": ["a", "b", "c"],
            "nested": [{"x": [1, 2]}, None, {"x": []}],
            "labels": pa.array([["p"], ["q", "p"], None], pa.list_(pa.string())),
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
        }
    )
    path = write_input(table, row_group_size=1)
    with open_parquet(path) as source:
        batches = list(source.batches())
    assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()
