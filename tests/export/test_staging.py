"""A staged directory: complete or not there at all, whenever a stop arrives."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskedge_export.errors import StagingError
from maskedge_export.signals import deferred_signals
from maskedge_export.staging import staging


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """As a program starts with it; processes that run tests side by side ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_stop_right_after_the_directory_was_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def stopped_in(*arguments: str, **options: str) -> str:
        made = make(*arguments, **options)
        assert list(tmp_path.iterdir())
        signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", stopped_in)
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "out", overwrite=False):
        pytest.fail("the work begins all the same")
    assert not list(tmp_path.iterdir())


def test_what_another_process_has_made_meanwhile_is_kept(tmp_path: Path) -> None:
    theirs = tmp_path / "out" / "theirs"

    def overtaken() -> None:
        with staging(theirs.parent, overwrite=False):
            theirs.parent.mkdir()
            theirs.touch()

    with pytest.raises(StagingError, match="has been made by another process meanwhile"):
        overtaken()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


def test_a_stop_that_waits_for_what_fails_is_raised_all_the_same() -> None:
    def fail() -> None:
        with deferred_signals():
            signal.raise_signal(signal.SIGINT)
            raise OSError("no space left")

    with pytest.raises(KeyboardInterrupt):
        fail()
