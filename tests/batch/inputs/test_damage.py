"""Files that are not what they are to be: named with the row group, or set aside and counted; never read wrongly."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pyarrow.parquet.encryption
import pytest
from s3_store import S3Store, passes

from maskedge_batch.errors import DamagedError, InputError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.opening import open_inputs
from maskedge_batch.inputs.selection import Selection, select

pa: Any = pyarrow
pq: Any = pyarrow.parquet
encryption: Any = pyarrow.parquet.encryption

ROWS = [{"id": number, "text": f"text {number % 5}"} for number in range(30)]


def write(path: Path, **options: Any) -> Path:
    """30 rows in three row groups; texts in a dictionary, and without one."""
    columns = {"id": [row["id"] for row in ROWS], "text": [row["text"] for row in ROWS]}
    pq.write_table(
        pa.table(columns), path, row_group_size=10, write_page_checksum=True, **{"use_dictionary": ["text"], **options}
    )
    return path


def rows_of(inputs: InputSet) -> list[dict[str, Any]]:
    return [row for file in range(len(inputs.files)) for batch in inputs.read(file) for row in batch.to_pylist()]


def flip(path: Path, *offsets: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


def chunk(path: Path, group: int, column: int) -> Any:
    return pq.ParquetFile(path).metadata.row_group(group).column(column)


def last_byte(path: Path) -> int:
    """Of the second row group's ids."""
    found = chunk(path, 1, 0)
    return int(found.data_page_offset + found.total_compressed_size - 1)


WHERE: dict[str, Callable[[Path], int]] = {
    "page header": lambda path: int(chunk(path, 1, 0).data_page_offset),
    "data page": last_byte,
    "dictionary page": lambda path: int(chunk(path, 1, 1).data_page_offset - 2),
    "dictionary page header": lambda path: int(chunk(path, 1, 1).dictionary_page_offset),
}


@pytest.mark.parametrize("where", WHERE)
def test_a_flipped_bit_is_named_with_its_row_group(tmp_path: Path, where: str) -> None:
    path = write(tmp_path / "x.parquet")
    flip(path, WHERE[where](path))
    with pytest.raises(DamagedError, match=f"{path} is damaged in row group 1 of 3") as raised:
        rows_of(open_inputs([path]))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("where", WHERE)
def test_a_damaged_row_group_is_set_aside_whole(tmp_path: Path, where: str) -> None:
    path = write(tmp_path / "x.parquet")
    flip(path, WHERE[where](path))
    inputs = select(open_inputs([path], skip_damaged=True), Selection(), skip_damaged=True)
    assert rows_of(inputs) == ROWS[:10] + ROWS[20:]
    assert inputs.num_rows == 20
    (aside,) = inputs.set_aside
    assert (aside.file, aside.row_group, aside.rows) == (str(path), 1, 10)
    assert aside.reason.startswith(f"{path} is damaged in row group 1 of 3")


def test_selections_are_of_the_rows_that_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    flip(path, last_byte(path))
    opened = open_inputs([path], skip_damaged=True)
    for selection, expected in {
        Selection(limit=12): [*range(10), 20, 21],
        Selection(filter="id % 4 = 0"): [0, 4, 8, 20, 24, 28],
        Selection(sample=20): [*range(10), *range(20, 30)],
    }.items():
        assert [row["id"] for row in rows_of(select(opened, selection, skip_damaged=True))] == expected


def test_damage_in_a_column_that_is_not_read_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    flip(path, last_byte(path))
    inputs = select(open_inputs([path]), Selection(columns=("text",)), skip_damaged=True)
    assert inputs.set_aside == ()
    assert rows_of(inputs) == [{"text": row["text"]} for row in ROWS]


def encrypted(path: Path) -> None:
    class InMemory(encryption.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            return key_bytes.hex().encode()

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            return bytes.fromhex(wrapped_key.decode())

    factory = encryption.CryptoFactory(lambda settings: InMemory())
    settings = encryption.EncryptionConfiguration(footer_key="key", column_keys={"key": ["text"]})
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    write(path, encryption_properties=properties, use_dictionary=False)


def footer_length(path: Path, length: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-8] + length.to_bytes(4, "little") + data[-4:])


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "one byte": (lambda path: path.write_bytes(b"P"), "not a complete Parquet file"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "not a complete Parquet file"),
    "magic": (lambda path: flip(path, path.stat().st_size - 1), "not a complete Parquet file"),
    "footer too long": (lambda path: footer_length(path, 10_000_000), "not a complete Parquet file"),
    "footer negative": (lambda path: footer_length(path, 2**32 - 1), "not a complete Parquet file"),
    "footer too short": (lambda path: footer_length(path, 20), "not a complete Parquet file"),
    "encrypted": (encrypted, "is encrypted"),
    "pointer": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_file_is_named_or_set_aside(tmp_path: Path, how: str) -> None:
    good, path = write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet")
    spoil, said = SPOILED[how]
    spoil(path)
    with pytest.raises(DamagedError, match=f"{path} is .*{said.removeprefix('is ')}") as raised:
        open_inputs([tmp_path])
    assert len(str(raised.value).splitlines()) == 1
    inputs = open_inputs([tmp_path], skip_damaged=True)
    assert [file.shown for file in inputs.files] == [str(good)]
    assert rows_of(inputs) == ROWS
    (aside,) = inputs.set_aside
    assert (aside.file, aside.row_group, aside.rows) == (str(path), None, None)


def test_where_no_file_can_be_read_there_is_nothing_to_score(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"No file of the input can be read: .*a.parquet is empty"):
        open_inputs([tmp_path], skip_damaged=True)


FLIPPED = """
import sys
from pathlib import Path
from maskedge_batch.errors import DamagedError, InputError
from maskedge_batch.inputs.opening import open_inputs
from maskedge_batch.inputs.selection import Selection, select

path = Path(sys.argv[1])
data = path.read_bytes()
for offset in range(int(sys.argv[2]), len(data)):
    for bit in (0, 2, 6, 7):
        print(offset, bit, end=" ", flush=True)
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :])
        try:
            inputs = select(open_inputs([path], skip_damaged=True), Selection(), skip_damaged=True)
            rows = sum(batch.num_rows for file in range(len(inputs.files)) for batch in inputs.read(file))
            assert rows == inputs.num_rows
            print("read", flush=True)
        except (DamagedError, InputError) as error:
            assert len(str(error).splitlines()) == 1
            print("refused", flush=True)
"""


@pytest.mark.slow
def test_no_flipped_bit_of_a_footer_breaks_the_reader(tmp_path: Path) -> None:
    """In a process of its own, which would show a crash as well."""
    path = write(tmp_path / "x.parquet", store_schema=False)
    footer = path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[-8:-4], "little")
    command = [sys.executable, "-c", FLIPPED, str(path), str(footer)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, (ran.stdout.splitlines()[-1], ran.stderr[-2000:])
    assert ran.stdout.count("refused") > 100


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
def test_a_file_that_may_not_be_read_is_named_and_never_set_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    path.chmod(0)
    for directory in list(path.parents)[:3]:
        directory.chmod(0o755)
    script = (
        "import os, sys; from maskedge_batch.inputs.opening import open_inputs;"
        f"os.setegid(65534); os.seteuid(65534); open_inputs(['{path}'], skip_damaged=True)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert f"InputError: {path} cannot be read: Permission denied." in ran.stderr, ran.stderr


def test_a_directory_with_a_files_name_is_a_directory(tmp_path: Path) -> None:
    """As Spark writes them."""
    (tmp_path / "x.parquet").mkdir()
    write(tmp_path / "x.parquet" / "part-0.parquet")
    assert rows_of(open_inputs([tmp_path / "x.parquet"])) == ROWS


@pytest.mark.slow
def test_a_store_that_fails_now_and_then_is_asked_again(tmp_path: Path, s3: S3Store) -> None:
    s3.put("x.parquet", write(tmp_path / "x.parquet").read_bytes())
    s3.requests.clear()
    s3.fault = lambda method, path: 500 if len(s3.requests) % 3 == 1 else None
    assert rows_of(open_inputs(["s3://corpus/x.parquet"])) == ROWS


def test_what_a_store_does_not_give_is_not_set_aside_as_damaged(tmp_path: Path, s3: S3Store) -> None:
    s3.put("x.parquet", write(tmp_path / "x.parquet").read_bytes())
    inputs = open_inputs(["s3://corpus/x.parquet"])
    s3.fault = lambda method, path: 403 if method == "GET" else None
    attempts: list[Callable[[], InputSet]] = [
        lambda: select(inputs, Selection(), skip_damaged=True),
        lambda: open_inputs(["s3://corpus/x.parquet"], skip_damaged=True),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match=r"s3://corpus/x.parquet cannot be read: access was denied") as raised:
            attempt()
        assert not isinstance(raised.value, DamagedError)
    s3.fault = passes
    data = bytearray(s3.get("x.parquet"))
    data[last_byte(tmp_path / "x.parquet")] ^= 1
    s3.put("x.parquet", bytes(data))
    inputs = select(open_inputs(["s3://corpus/x.parquet"]), Selection(), skip_damaged=True)
    assert [aside.row_group for aside in inputs.set_aside] == [1]
