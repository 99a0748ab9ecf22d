"""Files, directories, globs, partitions and stores: one sequence of rows, whichever way it is named and read."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from s3_store import S3Store

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.opening import open_inputs
from maskedge_batch.inputs.selection import Selection, select

pa: Any = pyarrow
pq: Any = pyarrow.parquet


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def rows_of(inputs: InputSet) -> list[dict[str, Any]]:
    return [row for file in range(len(inputs.files)) for batch in inputs.read(file) for row in batch.to_pylist()]


def ids(inputs: InputSet) -> list[int]:
    return [row["id"] for row in rows_of(inputs)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Nine rows in three languages, beside files that are none of the corpus."""
    root = tmp_path / "corpus"
    write(root / "lang=en" / "year=2020" / "b.parquet", {"id": [2, 3]}, row_group_size=1)
    write(root / "lang=en" / "year=2020" / "a.parquet", {"id": [0, 1]})
    write(root / "lang=en" / "year=2021" / "000000_0", {"id": [4, 5]})
    write(root / "lang=d%20e" / "year=2020" / "x.PARQUET", {"id": [6]})
    write(root / "lang=__HIVE_DEFAULT_PARTITION__" / "year=2020" / "x.snappy.parquet", {"id": [7, 8]})
    write(root / "_temporary" / "x.parquet", {"other": [1]})
    write(root / "lang=en" / ".hidden.parquet", {"other": [1]})
    (root / "_SUCCESS").touch()
    (root / "lang=en" / "notes.txt").write_text("not of the corpus")
    return root


BY_NAME = [7, 8, 6, 0, 1, 2, 3, 4, 5]
"""The rows of the corpus in the order of their files' paths."""


def test_a_directory_is_its_files_by_name(corpus: Path) -> None:
    assert ids(open_inputs([corpus])) == BY_NAME


def test_partitions_become_columns(corpus: Path) -> None:
    inputs = open_inputs([corpus])
    assert [(field.name, str(field.type)) for field in inputs.schema] == [
        ("id", "int64"),
        ("lang", "string"),
        ("year", "int32"),
    ]
    found = {row["id"]: (row["lang"], row["year"]) for row in rows_of(inputs)}
    assert [found[number] for number in (0, 4, 6, 7)] == [("en", 2020), ("en", 2021), ("d e", 2020), (None, 2020)]


def test_partitions_are_what_pyarrow_reads(corpus: Path) -> None:
    """Of a directory that pyarrow wrote: rows, columns and types."""
    table = pa.table({"id": range(12), "a": [1, 2, 3] * 4, "b": ["x", "y/z", "ü=", None] * 3})
    pq.write_to_dataset(table, corpus / "written", partition_cols=["a", "b"])
    expected = pq.read_table(corpus / "written", partitioning=pa.dataset.partitioning(flavor="hive"))
    inputs = open_inputs([corpus / "written"])
    assert inputs.schema.equals(expected.schema)
    assert sorted(map(str, rows_of(inputs))) == sorted(map(str, expected.to_pylist()))


def test_a_column_that_the_files_have_themselves_stays_theirs(tmp_path: Path) -> None:
    write(tmp_path / "corpus" / "id=7" / "x.parquet", {"id": [1]})
    assert rows_of(open_inputs([tmp_path / "corpus"])) == [{"id": 1}]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/year=2020/*.parquet", [7, 8, 0, 1, 2, 3]),
        ("lang=en/**/*[!t]", [0, 1, 2, 3, 4, 5]),
        ("**/[ab].parquet", [0, 1, 2, 3]),
        ("lang=en/y*", [0, 1, 2, 3, 4, 5]),
        ("lang=??", [0, 1, 2, 3, 4, 5]),
        ("lang=*/year=2021", [4, 5]),
        ("lang=en/year=2020/?.parquet", [0, 1, 2, 3]),
    ],
)
def test_a_glob_is_what_it_matches(corpus: Path, pattern: str, expected: list[int]) -> None:
    assert ids(open_inputs([f"{corpus}/{pattern}"])) == expected


def test_directories_of_a_glob_are_partitions(corpus: Path) -> None:
    row, *_ = rows_of(open_inputs([f"{corpus}/*/year=2021/*"]))
    assert row == {"id": 4, "lang": "en", "year": 2021}


def test_hidden_names_are_found_where_they_are_asked_for(corpus: Path) -> None:
    assert open_inputs([f"{corpus}/_temp*/*"]).schema.names == ["other"]


def test_arguments_follow_each_other_and_no_file_comes_twice(corpus: Path) -> None:
    english = corpus / "lang=en"
    inputs = open_inputs([english / "year=2020" / "b.parquet", english / "year=2020", f"{english}/**/a.parquet"])
    assert ids(inputs) == [2, 3, 0, 1]


def test_names_with_the_characters_of_globs_are_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1]*.parquet", {"id": [1]})
    write(tmp_path / "a1.parquet", {"id": [2]})
    assert ids(open_inputs([path])) == [1]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("corpus/nothing.parquet", "There is no file .*corpus/nothing.parquet: check its name"),
        ("corpus/*/nothing*", r"No file matches .*corpus/\*/nothing\*: check the glob"),
        ("empty", r"empty holds no files to read: their names end in \.parquet"),
    ],
)
def test_an_argument_that_stands_for_nothing_is_named(corpus: Path, tmp_path: Path, argument: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(InputError, match=said):
        open_inputs([tmp_path / argument if "*" not in argument else f"{tmp_path}/{argument}"])


def test_a_store_is_read_as_a_directory_is(corpus: Path, s3: S3Store) -> None:
    for path in corpus.rglob("*"):
        if path.is_file():
            s3.put(f"texts/{path.relative_to(corpus)}", path.read_bytes())
    here = open_inputs([corpus])
    there = open_inputs(["s3://corpus/texts"])
    assert rows_of(there) == rows_of(here)
    assert there.schema.equals(here.schema)
    assert ids(open_inputs(["s3://corpus/texts/lang=en/*/[ab].parquet"])) == [0, 1, 2, 3]
    assert ids(open_inputs(["s3://corpus/texts/lang=en/year=2020/a.parquet"])) == [0, 1]


@pytest.mark.parametrize("uri", ["s3://corpus/nothing.parquet", "s3://nowhere/x.parquet", "s3://corpus/no/*.parquet"])
def test_what_a_store_does_not_have_is_named(s3: S3Store, uri: str) -> None:
    with pytest.raises(InputError) as raised:
        open_inputs([uri])
    assert uri in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_any_part_can_be_read_by_any_process(tmp_path: Path) -> None:
    """Each range of rows of each file, as a pickled copy reads it, is that part of the rows."""
    write(tmp_path / "a.parquet", {"id": range(10)}, row_group_size=3)
    write(tmp_path / "b.parquet", {"id": range(10, 13)})
    inputs = pickle.loads(pickle.dumps(open_inputs([tmp_path / "a.parquet", tmp_path / "b.parquet"])))
    assert inputs.num_rows == 13
    for file, numbers in enumerate((range(10), range(10, 13))):
        for first in range(len(numbers) + 1):
            for rows in range(len(numbers) - first + 1):
                part = [row["id"] for batch in inputs.read(file, first, rows) for row in batch.to_pylist()]
                assert part == list(numbers[first : first + rows])


def test_row_groups_say_rows_and_bytes(tmp_path: Path) -> None:
    text = [f"{number:01000}" for number in range(10)]
    columns = {"s": [{"x": 1}] * 10, "text": text}
    path = write(tmp_path / "a.parquet", columns, row_group_size=4, use_dictionary=False, write_statistics=False)
    groups = list(open_inputs([path]).row_groups(0, "text"))
    assert [rows for rows, _ in groups] == [4, 4, 2]
    assert [round(size / 1000) for _, size in groups] == [4, 4, 2]


def test_a_file_that_changes_under_a_run_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"id": [1]})
    inputs = open_inputs([path])
    write(path, {"id": [2]})
    with pytest.raises(InputError, match=f"{path} has changed since this run looked at it"):
        rows_of(inputs)


# Schemas that differ


def test_columns_in_another_order_are_accepted_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1], "text": ["x"]})
    write(tmp_path / "b.parquet", {"text": ["y"], "id": [2]})
    inputs = open_inputs([tmp_path])
    assert inputs.schema.names == ["id", "text"]
    assert rows_of(inputs) == [{"id": 1, "text": "x"}, {"id": 2, "text": "y"}]


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_column_without_any_value_takes_the_type_that_it_has_elsewhere(tmp_path: Path, first: str) -> None:
    second = {"a": "b", "b": "a"}[first]
    write(tmp_path / f"{first}.parquet", {"id": [1], "text": pa.nulls(1)})
    write(tmp_path / f"{second}.parquet", {"id": [2], "text": ["y"]})
    inputs = open_inputs([tmp_path])
    assert inputs.schema.field("text").type == pa.string()
    assert sorted(rows_of(inputs), key=lambda row: row["id"]) == [{"id": 1, "text": None}, {"id": 2, "text": "y"}]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"id": ["1"], "text": ["x"]}, r"in .*/b.parquet the column 'id' holds string, in .*/a.parquet int64"),
        ({"id": [1]}, r"a.parquet has a column 'text' and .*/b.parquet has none"),
        ({"id": [1], "text": ["x"], "more": [1]}, r"b.parquet has a column 'more' and .*/a.parquet has none"),
    ],
)
def test_files_that_differ_are_named_with_the_column(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    write(tmp_path / "a.parquet", {"id": [1], "text": ["x"]})
    write(tmp_path / "b.parquet", other)
    with pytest.raises(InputError, match=said):
        open_inputs([tmp_path])


# INT96


def test_all_files_have_timestamps_in_one_unit(tmp_path: Path) -> None:
    """The one that holds every value of every file: nanoseconds reach no further than 2262."""
    for name, moment in {"a": 0, "b": 253_402_300_799_999_999}.items():
        column = pa.array([moment], pa.timestamp("us"))
        write(tmp_path / f"{name}.parquet", {"t": column}, use_deprecated_int96_timestamps=True, store_schema=False)
    inputs = select(open_inputs([tmp_path]), Selection())
    assert inputs.schema.field("t").type == pa.timestamp("us")
    read = [batch for file in range(2) for batch in inputs.read(file)]
    table = pa.Table.from_batches(read, inputs.schema)
    assert table["t"].cast(pa.int64()).to_pylist() == [0, 253_402_300_799_999_999]
