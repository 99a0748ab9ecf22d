"""A job that is asked to stop does so at its next safe place, wherever it was asked."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maskedge.bundle.engine import OnnxGraph, Outputs
from maskedge.bundle.threads import usable_cpus
from maskedge_batch.errors import StoppedError
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.stopping import StopRequest

WriteInput = Callable[..., Path]


@pytest.fixture
def _handlers_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class AsksWhenFinalized:
    """Sends a signal to this process from where exceptions are lost."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("_handlers_restored")
def test_a_signal_within_a_finalizer_is_not_lost(
    write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]
) -> None:
    with pytest.raises(StoppedError) as stopped:
        score_file(
            Job(write_input(sentences), model=bundle),
            lambda *_: (AsksWhenFinalized(), None)[1],
            StopRequest.on_signals(),
        )
    assert stopped.value.number == signal.SIGTERM


def test_the_model_is_called_no_more(monkeypatch: pytest.MonkeyPatch, write_input: WriteInput, bundle: Path) -> None:
    """A long piece of rows does not have to end first."""
    stop, calls = StopRequest(), 0
    run = OnnxGraph.run

    def ask(*arguments: Any) -> Outputs:
        nonlocal calls
        calls += 1
        stop.ask()
        return run(*arguments)

    monkeypatch.setattr(OnnxGraph, "run", ask)
    with pytest.raises(StoppedError):
        score_file(Job(write_input({"text": ["a [MASK] " * 9] * 2_000}), model=bundle), stop=stop)
    assert 1 <= calls <= usable_cpus()


def test_rows_that_never_come_to_the_model_are_no_obstacle(write_input: WriteInput, bundle: Path) -> None:
    stop = StopRequest()
    seen: list[int] = []

    def watch(done: int, total: int) -> None:
        seen.append(done)
        if done:
            stop.ask()

    with pytest.raises(StoppedError):
        score_file(Job(write_input({"text": [None] * 9_000 + ["a [MASK]"]}), model=bundle), watch, stop)
    assert seen == [0, 2_000]


@pytest.mark.parametrize("asked_at", [0, 240], ids=["before the first row", "after the last"])
def test_nothing_is_published_however_late_it_is_asked(
    write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]], asked_at: int
) -> None:
    path = write_input(sentences)
    stop = StopRequest()
    seen: list[int] = []

    def watch(done: int, total: int) -> None:
        seen.append(done)
        if done == asked_at:
            stop.ask()

    with pytest.raises(StoppedError):
        score_file(Job(path, model=bundle), watch, stop)
    assert seen[-1] == asked_at
    assert list(path.parent.iterdir()) == [path]
