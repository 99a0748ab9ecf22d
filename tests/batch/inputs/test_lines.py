"""Files with a row a line, compressed or not, from a disk, a store or standard input: they become Parquet first."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from s3_store import S3Store

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.opening import Spool, open_inputs

pa: Any = pyarrow

ROWS = [{"text": f"line {number}\u2028\x0c", "n": {"a": [number]}, "target": None} for number in range(25_000)]


def as_lines(rows: list[dict[str, Any]], end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def read(inputs: InputSet) -> Any:
    batches = [batch for file in range(len(inputs.files)) for batch in inputs.read(file)]
    return pa.Table.from_batches(batches, inputs.schema)


def read_lines(tmp_path: Path, content: bytes, name: str = "x.jsonl") -> Any:
    (tmp_path / name).write_bytes(content)
    return read(open_inputs([tmp_path / name], Spool(tmp_path / "spool")))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_rows_are_what_was_written(tmp_path: Path, end: str, mark: bytes) -> None:
    rows = ROWS[:3000]
    assert read_lines(tmp_path, mark + as_lines(rows, end)).to_pylist() == rows


def test_a_compressed_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    members = gzip.compress(as_lines(ROWS[:10])) + gzip.compress(as_lines(ROWS[10:20]))
    assert read_lines(tmp_path, members, "x.jsonl.gz").to_pylist() == ROWS[:20]


def test_a_text_a_line(tmp_path: Path) -> None:
    table = read_lines(tmp_path, b"one\r\n\ntwo \xff\nthree", "x.txt")
    assert table["text"].cast(pa.binary()).to_pylist() == [b"one", b"", b"two \xff", b"three"]


def test_a_store_and_standard_input_give_the_same(tmp_path: Path, s3: S3Store) -> None:
    s3.put("a/x.jsonl.gz", gzip.compress(as_lines(ROWS)))
    piped = Spool(tmp_path, standard_input=io.BytesIO(as_lines(ROWS)))
    assert read(open_inputs(["-"], piped)).to_pylist() == ROWS
    assert read(open_inputs(["s3://corpus/a"], Spool("s3://corpus/spool"))).to_pylist() == ROWS


def test_what_is_spooled_has_row_groups_and_is_not_spooled_again(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(as_lines(ROWS))
    spool = Spool(tmp_path / "spool")
    first = open_inputs([tmp_path / "x.jsonl"], spool)
    assert [group.total for group in first.files[0].rows.groups] == [10_000, 10_000, 5_000]
    again = open_inputs([tmp_path / "x.jsonl"], spool)
    assert [file.identity for file in again.files] == [file.identity for file in first.files]
    (tmp_path / "x.jsonl").write_bytes(as_lines(ROWS[:7]))
    assert open_inputs([tmp_path / "x.jsonl"], spool).num_rows == 7


def test_the_same_standard_input_is_the_same_file(tmp_path: Path) -> None:
    """By which a run is gone on with."""
    files = [
        open_inputs(["-"], Spool(tmp_path, standard_input=io.BytesIO(text))).files[0] for text in [b'{"a": 1}'] * 2
    ]
    assert files[0].identity == files[1].identity
    assert [path.name[:6] for path in tmp_path.iterdir()] == ["lines-"]


def test_standard_input_is_read_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="read alone"):
        open_inputs(["-", tmp_path], Spool(tmp_path, standard_input=io.BytesIO()))


def test_fields_come_and_go_and_change_their_width(tmp_path: Path) -> None:
    lines = b'{"a": 1}\n{"b": "x", "a": 1.5}\n{"a": null, "c": [1, {}]}\n{}\n'.replace(b"[1, {}]", b"[1]")
    table = read_lines(tmp_path, lines)
    assert table.to_pylist() == [
        {"a": 1.0, "b": None, "c": None},
        {"a": 1.5, "b": "x", "c": None},
        {"a": None, "b": None, "c": [1]},
        {"a": None, "b": None, "c": None},
    ]


def test_texts_that_are_no_text_spoil_their_own_row_only(tmp_path: Path) -> None:
    lines = [
        rb'{"text": "\ud83d", "s": ["\ud83d"]}',
        b'{"text": "\xff\xc3\xa9", "s": []}',
        rb'{"text": "\ud83d\ude00"}',
    ]
    table = read_lines(tmp_path, b"\n".join(lines))
    assert table["text"].cast(pa.binary()).to_pylist() == [
        b"\xed\xa0\xbd",
        b"\xff\xc3\xa9",
        "\N{GRINNING FACE}".encode(),
    ]
    assert table["s"].to_pylist() == [["\N{REPLACEMENT CHARACTER}"], [], None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "a"}\n{"text": "b"', "x.jsonl, line 2: Expecting"),
        (b'\n{"text": "a"}\n[1]\n', "x.jsonl, line 3 is no JSON object"),
        ('{"text": "a"}'.encode("utf-16"), "x.jsonl, line 1: line 1 is not UTF-8 .*UTF-16"),
        (b'{"a": 1}\n{"a": "x"}\n', "x.jsonl holds values of different types under one name by line 2"),
        (b'{"a": 99999999999999999999}', "x.jsonl holds values of different types under one name by line 1"),
        (b'{"a": {}}', "x.jsonl cannot be read: Cannot write struct type 'a' with no child field"),
        (b"[" * 100_000, "x.jsonl, line 1: "),
    ],
    ids=["cut", "list", "UTF-16", "types", "large", "empty object", "deep"],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_lines(tmp_path, content)
    assert len(str(raised.value).splitlines()) == 1
    assert not list((tmp_path / "spool").glob("*"))


def test_a_compressed_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    noise = random.Random(0)
    rows = [{"text": "".join(noise.choices("abcdefgh ", k=80))} for _ in range(2000)]
    whole = gzip.compress(as_lines(rows))
    for content in (whole[: len(whole) // 2], whole[:-4], b"no gzip at all", whole[:500] + b"\0\0\0\0" + whole[504:]):
        with pytest.raises(InputError, match=r"x.jsonl.gz(, line [0-9]+:| cannot be read: )"):
            read_lines(tmp_path, content, "x.jsonl.gz")
    assert not list((tmp_path / "spool").glob("*"))


def test_lines_where_only_parquet_is_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"x\.jsonl is no Parquet file"):
        open_inputs([tmp_path / "x.jsonl"])


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert read_lines(tmp_path, b"").num_rows == 0
    assert read_lines(tmp_path, b"", "x.txt").schema.names == ["text"]
