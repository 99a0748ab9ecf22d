"""A run that is killed, at any instant and between any two of its steps: what is there is complete or absent, and the
same command goes on to the same bytes and leaves nothing."""

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from run_server import Ended, RunServer

WriteInput = Callable[..., Path]

pytestmark = pytest.mark.slow

KILLS = 25
"""For a file, and as many for a directory."""
STEPS = 12
"""Of finishing that a run is killed between, the same."""
SHARDS = 4
NEVER = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[RunServer]:
    with RunServer() as server:
        yield server


@dataclass(frozen=True)
class Place:
    """An input, with what an undisturbed run makes of it."""

    source: Path
    output: str
    arguments: tuple[object, ...]
    server: RunServer
    names: frozenset[str] = frozenset()
    results: tuple[tuple[str, bytes], ...] = ()
    seconds: float = 0.0

    def run(self, **disturbance: object) -> Ended:
        return self.server.run("score", self.source, "-o", self.output, *self.arguments, **disturbance)  # type: ignore[arg-type]

    def files(self) -> dict[str, bytes]:
        """All that is there but the input."""
        there = (path for path in self.source.parent.rglob("*") if path.is_file() and path != self.source)
        return {str(path.relative_to(self.source.parent)): path.read_bytes() for path in there}

    def clear(self) -> None:
        for path in sorted(self.source.parent.rglob("*"), reverse=True):
            if path != self.source:
                path.unlink() if path.is_file() else path.rmdir()


def scored(files: dict[str, bytes]) -> dict[str, bytes]:
    """The scored rows, and what tells that they are complete: the rest may name times."""
    return {name: content for name, content in files.items() if name.endswith(("out.parquet", "_SUCCESS"))} | {
        name: content for name, content in files.items() if name.startswith("out/part-")
    }


@pytest.fixture(params=["out.parquet", "out/"])
def place(
    request: pytest.FixtureRequest, write_input: WriteInput, bundle: Path, words: list[str], server: RunServer
) -> Place:
    # Masks without targets: their report is made fast.
    source = write_input({"text": [f"{words[i % len(words)]} [MASK] {words[i % 7]}" for i in range(80)]})
    arguments = ("--model", bundle, "--shard-rows", 80 // SHARDS, "--resume", "--quiet")
    place = Place(source, f"{source.parent}/{request.param}", arguments, server)
    assert place.run().said == ""
    place.clear()
    ended = place.run()
    files = place.files()
    place.clear()
    return Place(
        source, place.output, arguments, server, frozenset(files), tuple(scored(files).items()), ended.seconds
    )  # fmt: skip


def check(place: Place) -> None:
    """What is there after a kill, and after the run that follows it."""
    complete = dict(place.results)
    found = scored(place.files())
    assert found == {name: complete[name] for name in found}
    assert "out/_SUCCESS" not in found or found == complete
    ended = place.run()
    assert (ended.code, ended.said) == (0, "")
    assert scored(place.files()) == complete
    assert set(place.files()) == place.names
    place.clear()


def test_a_run_that_is_killed_at_any_instant_goes_on_to_the_same_bytes(place: Place) -> None:
    chance = random.Random(20)
    killed = 0
    for number in range(KILLS):
        instant = place.seconds * (number + chance.random()) / KILLS
        killed += place.run(after=instant).code == -signal.SIGKILL
        check(place)
    assert killed > KILLS / 2  # the others had ended before


def test_a_run_that_is_killed_between_two_steps_of_finishing_goes_on_to_the_same_bytes(place: Place) -> None:
    all_steps = place.run(die_at=NEVER).steps
    place.clear()
    before: dict[str, bytes] = {}
    chance = random.Random(21)
    last = place_where_the_parts_are_done(place, all_steps)
    for number in range(STEPS):
        step = last + round((all_steps - last) * (number + chance.random()) / STEPS)
        assert place.run(die_at=step).code == -signal.SIGKILL
        before |= place.files()
        check(place)
    assert place.output.endswith("/") or any(name.endswith("/publishing") for name in before)


def place_where_the_parts_are_done(place: Place, all_steps: int) -> int:
    """The step at which a run has done all its shards, or a little before that."""
    first, end = 1, all_steps
    while end - first > 4:
        step = (first + end) // 2
        place.run(die_at=step)
        done = sum("/receipts/part-" in name for name in place.files()) + sum(
            name == "out.parquet" for name in scored(place.files())
        )
        place.clear()
        first, end = (step, end) if done < SHARDS else (first, step)
    return first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_says_how_it_goes_on(place: Place, number: signal.Signals) -> None:
    stopped = place.run(after=place.seconds / 2, number=number)
    assert stopped.code in (0, 128 + number)
    check(place)
