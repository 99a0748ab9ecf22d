"""Which rows a job takes: what a filter, a sample and a limit choose hangs on rows and places, and nothing else."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.opening import open_inputs
from maskedge_batch.inputs.rows import FileRows, GroupRows
from maskedge_batch.inputs.selection import Selection, select

pa: Any = pyarrow
pq: Any = pyarrow.parquet
sql: Any = duckdb.sql


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> InputSet:
    """120 rows in six row groups in each of two languages' files."""
    root = tmp_path_factory.mktemp("corpus")
    for file, language in enumerate(("de", "en")):
        numbers = range(file * 120, file * 120 + 120)
        columns = {
            "id": numbers,
            "text": [f"text {number}" if number % 7 else None for number in numbers],
            "length": [number % 40 for number in numbers],
            "nested": [{"a": number % 3, "b.c": [number]} for number in numbers],
        }
        (root / f"lang={language}").mkdir()
        pq.write_table(pa.table(columns), root / f"lang={language}" / "x.parquet", row_group_size=20)
    return open_inputs([root])


def rows_of(inputs: InputSet) -> list[dict[str, Any]]:
    return [row for file in range(len(inputs.files)) for batch in inputs.read(file) for row in batch.to_pylist()]


def ids(inputs: InputSet) -> list[int]:
    return [row["id"] for row in rows_of(inputs)]


FILTERS = [
    "lang = 'en'",
    "length > 10 AND text IS NOT NULL",
    "text LIKE '%1'",
    "nested.a = 1 AND nested['b.c'][1] > 100",
    "id IN (3, 239) -- two of them",
    "LENGTH BETWEEN 1 AND 3 or regexp_matches(text, '^text 2[0-4]$')",
    "true",
    "id < 0",
    "NULL",
]


@pytest.mark.parametrize("expression", FILTERS)
def test_a_filter_takes_what_duckdb_takes(corpus: InputSet, expression: str) -> None:
    """As it reads the same files by itself."""
    root = Path(corpus.files[0].location.path).parents[1]
    files = f"read_parquet('{root}/*/*.parquet', hive_partitioning = true)"
    found = sql(f"SELECT id FROM {files} WHERE ({expression}\n) ORDER BY id").fetchall()
    expected = [number for (number,) in found]
    chosen = select(corpus, Selection(filter=expression))
    assert ids(chosen) == expected
    assert chosen.num_rows == len(expected)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "lenght > 3",
            r"filter 'lenght > 3' cannot be applied.*the columns id \(int64\), text \(string\)",
        ),
        ("length >", "filter 'length >' cannot be applied: .*syntax error"),
        ("length + text > 3", "Conversion Error|Binder Error"),
        ("sum(length) > 3", "aggregates"),
        ("random() < 0.5", r"random\(\) is another each time"),
        ("text = now()::VARCHAR", r"now\(\) is another each time"),
        ("id IN (SELECT 1)", "one condition on the columns of a row"),
        ("true) UNION (SELECT 1", "one condition on the columns of a row"),
        ("true); DROP TABLE input; SELECT (1", "SELECT"),
        ("length(read_text('/etc/passwd')) > 1", "read_text"),
        ("text::INT > 3", "Could not convert string"),
        ("", "one condition on the columns of a row"),
        ("length, id", "one condition on the columns of a row"),
    ],
)
def test_what_is_no_filter_is_named_in_one_line(corpus: InputSet, expression: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        select(corpus, Selection(filter=expression))
    assert len(str(raised.value).splitlines()) == 1
    assert repr(expression) in str(raised.value)


def test_a_filter_over_texts_that_are_no_text_still_applies(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"\xff\xfe", b"\xed\xa0\x80", None], pa.binary()).view(pa.string())
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": texts}), path)
    chosen = select(open_inputs([path]), Selection(filter="upper(text) <> 'FINE'"))
    found = pa.Table.from_batches(list(chosen.read(0)))["text"].cast(pa.binary()).to_pylist()
    assert found == [b"\xff\xfe", b"\xed\xa0\x80"]


def test_a_limit_takes_the_first_rows(corpus: InputSet) -> None:
    assert ids(select(corpus, Selection(limit=130))) == list(range(130))
    assert ids(select(corpus, Selection(limit=0))) == []
    assert ids(select(corpus, Selection(limit=1000))) == list(range(240))


def test_what_is_beyond_a_limit_is_not_read(tmp_path: Path) -> None:
    """A damaged second row group does not matter to the first rows."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": range(20)}), path, row_group_size=10, write_page_checksum=True, use_dictionary=False)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    assert ids(select(open_inputs([path]), Selection(limit=10))) == list(range(10))
    with pytest.raises(InputError, match="damaged in row group 1 of 2"):
        ids(select(open_inputs([path]), Selection(limit=11)))


@pytest.mark.parametrize("count", [0, 1, 50, 120, 200, 239, 240, 1000])
def test_a_sample_has_exactly_so_many_rows_in_order(corpus: InputSet, count: int) -> None:
    found = ids(select(corpus, Selection(sample=count)))
    assert found == sorted(set(found))
    assert len(found) == min(count, 240)


def test_a_sample_is_its_seeds(corpus: InputSet) -> None:
    first = ids(select(corpus, Selection(sample=20, seed=1)))
    assert first == ids(select(corpus, Selection(sample=20, seed=1)))
    assert first != ids(select(corpus, Selection(sample=20, seed=2)))
    assert first == [0, 6, 7, 22, 32, 54, 61, 103, 106, 107, 118, 156, 173, 182, 183, 189, 200, 203, 216, 226]


def test_every_row_is_as_likely_in_a_sample(corpus: InputSet) -> None:
    """Over 200 seeds a row is chosen 50 times, give or take five times the standard deviation of 6.1."""
    counts = dict.fromkeys(range(240), 0)
    for seed in range(200):
        for number in ids(select(corpus, Selection(sample=60, seed=seed), ("id",)).only(["id"])):
            counts[number] += 1
    assert min(counts.values()) > 50 - 5 * 6.1
    assert max(counts.values()) < 50 + 5 * 6.1


def test_filter_sample_and_limit_follow_each_other(corpus: InputSet) -> None:
    every = select(corpus, Selection(filter="lang = 'en'"))
    sample = ids(select(corpus, Selection(filter="lang = 'en'", sample=30)))
    assert len(sample) == 30
    assert {*sample} < {*ids(every)}
    assert ids(select(corpus, Selection(filter="lang = 'en'", sample=30, limit=7))) == sample[:7]


def test_any_part_of_a_selection_is_that_part_of_its_rows(corpus: InputSet) -> None:
    """Counted among the chosen rows, wherever a shard is cut."""
    chosen = select(corpus, Selection(filter="length % 3 = 1", sample=50, limit=40))
    for file in range(2):
        every = [row["id"] for batch in chosen.read(file) for row in batch.to_pylist()]
        assert sum(rows for rows, _ in chosen.row_groups(file, "text")) == len(every)
        for first in range(0, len(every), 3):
            for rows in (0, 1, 5, len(every) - first):
                part = [row["id"] for batch in chosen.read(file, first, rows) for row in batch.to_pylist()]
                assert part == every[first : first + rows]


def test_columns_are_those_that_are_asked_for_and_needed(corpus: InputSet) -> None:
    chosen = select(corpus, Selection(columns=("lang", "nested"), filter="id = 5"), ("text",))
    assert rows_of(chosen) == [{"text": "text 5", "nested": {"a": 2, "b.c": [5]}, "lang": "de"}]
    assert chosen.schema.names == ["text", "nested", "lang"]


def test_a_column_to_keep_that_there_is_not_is_named(corpus: InputSet) -> None:
    with pytest.raises(InputError, match="no column 'txet' to keep: choose of id, text, length, nested, lang"):
        select(corpus, Selection(columns=("txet",)))


def test_columns_whose_names_are_each_others_paths_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [{"b": 1}], "a.b": ["x"], "c": [[{"d": 2}]], "b": [3]}), path)
    for name, value in {"a": {"b": 1}, "a.b": "x", "c": [{"d": 2}], "b": 3}.items():
        assert rows_of(open_inputs([path]).only([name])) == [{name: value}]


def test_a_column_that_cannot_be_passed_on_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    sql(f"COPY (SELECT 'a' AS text, INTERVAL '3 days' AS i, '1:00'::TIMETZ AS t) TO '{path}' (FORMAT parquet)")
    inputs = open_inputs([path])
    with pytest.raises(InputError, match="column 'i' holds INTERVAL"):
        inputs.check_passed_on()
    assert inputs.only(["text", "t"]).check_passed_on() == ()
    assert inputs.only(["text", "t"]).writer_options == {"write_time_adjusted_to_utc": True}
    assert inputs.only(["text"]).writer_options == {}


@given(st.lists(st.lists(st.booleans(), max_size=12), max_size=5), st.data())
def test_chosen_rows_are_found_again(groups: list[list[bool]], data: st.DataObject) -> None:
    """Against a plain list of the rows' numbers, first as masks, then thinned, then in part."""
    import numpy as np

    rows = FileRows(tuple(GroupRows.of(np.array(group, np.bool_)) for group in groups))
    numbers = [(group, row) for group, mask in enumerate(groups) for row, chosen in enumerate(mask) if chosen]
    assert rows.chosen == len(numbers)
    kept = data.draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)))
    rows = rows.keep(np.flatnonzero(np.array(kept, np.bool_)))
    numbers = [number for number, keep in zip(numbers, kept, strict=True) if keep]
    first = data.draw(st.integers(0, len(numbers)))
    end = data.draw(st.integers(first, len(numbers)))
    found = []
    for group, part in rows.part(first, end):
        found += [(group, int(row)) for row in (part if isinstance(part, range) else np.flatnonzero(part))]
    assert found == numbers[first:end]
