"""Places on a local disk, on S3 and on one of fsspec's file systems: the same questions, the same answers."""

import os
import pickle
from pathlib import Path

import pytest
from s3_store import S3Store

from maskedge_batch.errors import LocationError
from maskedge_batch.storage.locations import Location, locate
from maskedge_batch.storage.publishing import publish_bytes


@pytest.fixture(params=["local", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty directory."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return locate("s3://corpus/texts")
    found = locate(tmp_path if request.param == "local" else f"memory://corpus/{tmp_path.name}")
    found.make_directory()
    return found


def test_what_was_published_is_found(place: Location) -> None:
    file = place / "lang=en" / "a b%20[1]?.txt"
    assert not file.exists()
    file.parent.make_directory()
    publish_bytes(file, b"hello")
    assert (file.exists(), file.is_file(), file.is_directory(), file.size()) == (True, True, False, 5)
    assert file.parent.is_directory()
    assert file.read_text() == "hello"
    assert place.files() == [file]
    assert place.files(recursive=False) == []
    assert [file.name, file.suffix] == ["a b%20[1]?.txt", ".txt"]
    assert file.parent.parent == place
    with file.open() as opened:
        opened.seek(3)
        assert opened.read() == b"lo"


def test_its_uri_finds_the_same_place_elsewhere(place: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place / "x"
    publish_bytes(file, b"1")
    monkeypatch.chdir("/")
    for again in (locate(file.uri), pickle.loads(pickle.dumps(file))):
        assert again.read_bytes() == b"1"
        assert again.is_same(file)


def test_what_was_removed_is_gone(place: Location) -> None:
    publish_bytes(place / "x", b"1")
    publish_bytes(place / "z", b"1")
    (place / "x").remove()
    (place / "x").remove()
    assert [each.name for each in place.files()] == ["z"]
    place.remove()
    assert place.files() == []


def test_what_does_not_exist_is_said(place: Location) -> None:
    for ask in (Location.open, Location.stream, Location.size, Location.identity):
        with pytest.raises(FileNotFoundError):
            ask(place / "x")
    assert (place / "nowhere").files() == []


def test_a_store_is_asked_once_for_a_file_s_identity(s3: S3Store) -> None:
    s3.put("a.txt", b"text")
    file = locate("s3://corpus/a.txt")
    s3.requests.clear()
    assert file.identity().startswith("4 bytes, ETag ")
    assert [method for method, _ in s3.requests] == ["HEAD"]


def test_identity_changes_with_the_content_and_not_otherwise(tmp_path: Path, s3: S3Store) -> None:
    for file in (locate(tmp_path / "x"), locate("s3://corpus/x")):
        publish_bytes(file, b"1")
        before = file.identity()
        assert file.identity() == before
        publish_bytes(file, b"2")  # of one size, and on S3 within one second
        assert file.identity() != before


def test_a_local_path_is_shown_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = locate("texts/a.parquet")
    assert [str(shown), str(shown.parent), str(shown.parent / "b"), str(locate("a").parent)] == [
        "texts/a.parquet",
        "texts",
        "texts/b",
        ".",
    ]
    assert shown.uri == str(tmp_path / "texts" / "a.parquet")
    assert str(locate(f"file://{tmp_path}/a%20b")) == f"{tmp_path}/a b"


def test_links_to_one_file_are_the_same_place(tmp_path: Path) -> None:
    one, other = locate(tmp_path / "one"), locate(tmp_path / "other")
    publish_bytes(one, b"")
    assert not one.is_same(other)
    os.link(one.path, other.path)
    assert one.is_same(other)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nosuch://bucket/x", "no way to nosuch://bucket here: Protocol not known: nosuch"),
        ("s3:///x", "s3:// names no bucket"),
        ("hdfs://host/x", "no way to hdfs://host here: "),
    ],
)
def test_a_scheme_that_nothing_knows_is_one_line(uri: str, said: str) -> None:
    with pytest.raises(LocationError, match=said) as raised:
        locate(uri)
    assert len(str(raised.value).splitlines()) == 1
