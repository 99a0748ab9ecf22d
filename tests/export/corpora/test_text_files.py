"""Files of text: one reader of them, whatever is done with the texts."""

import errno
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge_export.corpora.documents import documents
from maskedge_export.corpora.text_files import find_text_files, read_rows
from maskedge_export.errors import CalibrationTextError, CorpusError, TextFileError
from maskedge_export.evaluation.texts import read_texts
from maskedge_export.recipe import CorpusRecipe

MARK = b"\xef\xbb\xbf"


def texts_of(file: Path, column: str = "text") -> list[str]:
    return [text for _, text in read_rows(file, column)]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"One.\n\nZw\xc3\xb6lf.", ["One.", "", "Zw\u00f6lf."]),
        (b"One.\r\nTwo.\r\n", ["One.", "Two."]),
        ("a\u2028b\x0cc\x85d\x1ce\rf\n".encode(), ["a\u2028b\x0cc\x85d\x1ce\rf"]),
        (MARK + b"One.\n" + MARK + b"Two.", ["One.", "\ufeffTwo."]),
        (MARK, [""]),
        (b"", []),
    ],
)
def test_a_line_ends_with_a_line_feed_and_the_file_may_begin_with_a_mark(
    content: bytes, lines: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert texts_of(tmp_path / "a.txt") == lines


def test_what_is_trained_on_and_what_is_measured_on_are_the_same_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(MARK + "One.\u2028Two.\x0c\r\n \nThree.\n".encode())
    (tmp_path / "b.jsonl").write_bytes(MARK + b'{"text": "Four.\\nFive."}\n\n{"text": null}\n')
    pq.write_table(pa.table({"text": ["Six.", None, " "]}), tmp_path / "c.parquet")
    expected = ["One.\u2028Two.\x0c", "Three.", "Four.\nFive.", "Six."]
    assert read_texts([tmp_path / "*"]) == expected
    assert list(documents(CorpusRecipe(files=(f"{tmp_path}/*",)))) == [(text,) for text in expected]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_a_parquet_file_has_a_column_of_texts(type_: pa.DataType, tmp_path: Path) -> None:
    column = pa.array(["One.", None, "", "Zw\u00f6lf."]).cast(type_)
    pq.write_table(pa.table({"id": range(4), "body": column}), tmp_path / "a.PARQUET")
    assert texts_of(tmp_path / "a.PARQUET", "body") == ["One.", "Zw\u00f6lf."]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_jsonl_file_has_a_text_in_each_object(suffix: str, tmp_path: Path) -> None:
    lines = ['{"id": 1, "body": "One."}', "", '{"body": "Zw\u00f6lf."}', '{"body": "A\u2028B", "document": 3}']
    file = tmp_path / f"a.{suffix}"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert list(read_rows(file, "body")) == [(None, "One."), (None, "Zw\u00f6lf."), (3, "A\u2028B")]


@pytest.mark.parametrize(
    "line",
    ["One.", '"One."', '{"sentence": "One."}', '{"text": 1}', "[1]", "{", '{"text": "\\ud800"}', "[" * 100_000],
    ids=lambda line: line[:20],
)
def test_a_line_that_holds_no_object_with_a_text_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "One."}}\n{line}\n')
    with pytest.raises(TextFileError, match=r"a\.jsonl, line 2, is no JSON object with a text 'text'"):
        texts_of(tmp_path / "a.jsonl")


def test_text_that_is_not_utf8_is_named_with_line_and_byte(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(MARK + json.dumps({"text": "x"}).encode() + b"\n" + b"x \xe9\n")
        with pytest.raises(TextFileError, match=rf"{name}: line 2 is not UTF-8 \(byte 0xe9\); convert .* with iconv"):
            texts_of(tmp_path / name)


def test_text_of_two_bytes_a_character_is_no_utf8_from_its_first_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("One.\n".encode("utf-16"))
    with pytest.raises(TextFileError, match=r"a\.txt: line 1 is not UTF-8 \(byte 0xff, as text in UTF-16 has\)"):
        texts_of(tmp_path / "a.txt")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_a_mark_is_none_of_zeros_and_letters(encoding: str, tmp_path: Path) -> None:
    """Each of its bytes is UTF-8."""
    (tmp_path / "a.txt").write_bytes("One.\nTwo.\n".encode(encoding))
    with pytest.raises(TextFileError, match=r"a\.txt: line 1 is not UTF-8 .* as text in UTF-16 has"):
        texts_of(tmp_path / "a.txt")


def test_parquet_without_the_column_lists_those_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "sentence": ["One."]}), tmp_path / "a.parquet")
    with pytest.raises(TextFileError, match=r"a\.parquet has no column 'text'; it has: id, sentence"):
        texts_of(tmp_path / "a.parquet")


def test_parquet_whose_column_holds_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [["One."]]}), tmp_path / "a.parquet")
    with pytest.raises(TextFileError, match=r"a\.parquet cannot be read as Parquet with a column of text"):
        texts_of(tmp_path / "a.parquet")


@pytest.mark.parametrize("damage", ["empty", "truncated", "no parquet", "damaged page"])
def test_corrupt_parquet_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"Text {number}." for number in range(300)]}), path, use_dictionary=False)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "truncated": content[:half],
            "no parquet": b"just some text\n" * 9,
            "damaged page": content[:20] + bytes(half) + content[20 + half :],
        }[damage]
    )
    with pytest.raises(TextFileError, match=r"a\.parquet cannot be read as Parquet"):
        texts_of(path)


def test_a_glob_stands_for_its_files_in_order_and_each_counts_once(tmp_path: Path) -> None:
    for name in ("b", "a", "c", "[d]"):
        (tmp_path / f"{name}.txt").touch()
    found = find_text_files([tmp_path / "c.txt", f"{tmp_path}/[abc].txt", tmp_path / "[d].txt"])
    assert [file.name for file in found] == ["c.txt", "a.txt", "b.txt", "[d].txt"]


def test_a_missing_file_is_named_whatever_it_is_wanted_for(tmp_path: Path) -> None:
    with pytest.raises(
        CalibrationTextError, match=r"typo\.txt does not exist; a glob must stand for at least one file"
    ):
        read_texts([tmp_path / "typo.txt"])
    with pytest.raises(CorpusError, match=r"typo\.txt does not exist"):
        list(documents(CorpusRecipe(files=(str(tmp_path / "typo.txt"),))))


@pytest.mark.parametrize("name", [".", "", "texts"])
def test_a_directory_is_no_file_of_text(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TextFileError, match=r"is a directory; give its files, such as '.*/\*\.parquet'"):
        find_text_files([name])


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # as for anybody but root, who may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TextFileError, match=r"a\.txt cannot be read: Permission denied"):
        texts_of(tmp_path / "a.txt")


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_a_git_lfs_pointer_is_no_text(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"texts{suffix}"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 267954768\n")
    with pytest.raises(TextFileError, match=f"texts{suffix} is a Git LFS pointer.*git lfs pull"):
        list(read_rows(file))
