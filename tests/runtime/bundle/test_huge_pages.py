"""Memory in huge pages: what is moved, when, and that a process's memory is the same and in fewer pages."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from maskedge import Predictor
from maskedge.bundle.huge_pages import OnHugePages, worth_moving
from maskedge.bundle.padding import UNPADDED
from maskedge.kernels import pages
from maskedge.kernels.pages import SWITCH, Pages, are_given

# What is moved

REGION = """\
{range} {access} 00000000 00:00 {inode}{name}
Size:              {size} kB
Rss:               {resident} kB
AnonHugePages:     {huge} kB
VmFlags: rd wr mr mw me ac
"""


def region(
    first: int = 0x7F0000000000,
    size: int = 8192,
    resident: int = 8192,
    huge: int = 0,
    access: str = "rw-p",
    inode: int = 0,
    name: str = "",
) -> str:
    """What Linux says of a region; sizes in kB."""
    return REGION.format(
        range=f"{first:x}-{first + size * 1024:x}",
        access=access,
        inode=inode,
        name=f"{' ' * 20}{name}" if name else "",
        size=size,
        resident=resident,
        huge=huge,
    )


def test_whole_huge_pages_of_a_region_are_moved() -> None:
    first = 0x7F0000000000
    regions = region(first + 4096) + region(first + (64 << 20), name="[heap]") + region(first + (99 << 20), size=3072)
    assert list(worth_moving(regions)) == [
        (first + (2 << 20), first + (8 << 20)),
        (first + (64 << 20), first + (72 << 20)),
        (first + (100 << 20), first + (102 << 20)),
    ]


@pytest.mark.parametrize(
    "other",
    [
        region(access="r--p"),
        region(access="rw-s"),
        region(inode=17, name="/usr/lib/libc.so"),
        region(name="[stack]"),
        region(resident=6000),
        region(size=2044, resident=2044),
        region(huge=8192),
        region(first=0x7F0000001000, size=2052, resident=2052),
    ],
    ids=["read only", "shared", "a file's", "the stack", "hardly there", "too small", "huge already", "not aligned"],
)
def test_other_memory_stays_where_it_is(other: str) -> None:
    assert list(worth_moving(other)) == list(worth_moving("")) == []
    assert len(list(worth_moving(other + region(0x7F1000000000) + other))) == 1


# When


class Clock:
    """Seconds that graphs say they took."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A graph whose runs take so long."""

    padding = UNPADDED

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        self.clock.now += self.seconds
        return {name: np.array(self.clock.now) for name in outputs}


def test_it_is_moved_when_the_graph_has_run_for_a_second_and_for_twice_as_long() -> None:
    clock, moved = Clock(), Event()
    graph, moves = OnHugePages(Slow(clock, 0.25), moved.set, clock), []
    for run in range(1, 41):
        assert graph.run(["entropy"], {}) == {"entropy": np.array(run / 4)}
        if moved.wait(timeout=5 if run in (4, 8, 16, 32) else 0.02):
            moves.append(run)
            moved.clear()
            assert graph._moving.acquire(timeout=5)
            graph._moving.release()
    assert moves == [4, 8, 16, 32]


def test_while_it_is_moved_it_is_not_moved_again() -> None:
    clock, asked, ended = Clock(), [], Event()

    def move() -> None:
        asked.append(clock.now)
        ended.wait(timeout=30)

    graph = OnHugePages(Slow(clock, 1.0), move, clock)
    for _ in range(9):
        graph.run([], {})
    ended.set()
    assert len(asked) == 1


# What Linux does


@pytest.fixture
def linux_gives_them() -> None:
    """Linux moves memory that it is told to."""
    if not are_given():
        pytest.skip("Linux gives no huge pages here")
    release = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if release < (6, 1):
        pytest.skip(f"Linux {platform.release()} moves nothing at once")


MOVED = """
import re, sys
from pathlib import Path
import numpy as np
from maskedge import Predictor
from maskedge.bundle import huge_pages
from maskedge.bundle.engine import graph_inputs

def megabytes(kind):
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(rf"^{kind}: +(\\d+) kB$", rollup, re.MULTILINE)[1]) / 1024

predictor = Predictor.load(engine=sys.argv[1], threads=1)
ids = np.random.default_rng(3).integers(600, 9000, (32, 32))
inputs = graph_inputs(ids, [[5]] * 32, [[[7]]] * 32, 5)
outputs = ["top_ids", "top_logprobs", "entropy", "target_logprobs", "target_ranks"]

def answers():
    return [values.tobytes() for values in predictor.graph.run(outputs, inputs).values()]

before, huge, resident = answers(), megabytes("AnonHugePages"), megabytes("Rss")
worth = sum(end - start for start, end in huge_pages.worth_moving(Path("/proc/self/smaps").read_text())) / 2**20
huge_pages.move_to_huge_pages()
moved = megabytes("AnonHugePages") - huge
print(answers() == before, huge + moved, moved >= worth / 2, megabytes("Rss") / resident)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("linux_gives_them")
def test_a_model_in_huge_pages_answers_with_the_same_bits_and_takes_hardly_more_memory(engine: str) -> None:
    environment = os.environ | {SWITCH: "0"}  # moved by the test alone
    command = [sys.executable, "-c", MOVED, engine]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, env=environment).stdout
    same, huge, moved, grown = said.split()
    assert same == moved == "True"
    assert float(huge) > 20  # where Linux gives them unasked, most of it was huge before
    assert float(grown) < 1.15


@pytest.mark.parametrize(
    ("setting", "switch", "given"),
    [
        ("always [madvise] never", None, True),
        ("[always] madvise never", "1", True),
        ("always madvise [never]", None, False),
        ("always [madvise] never", "0", False),
        (None, None, False),
    ],
)
def test_a_machine_that_gives_none_or_an_environment_that_wants_none_has_none(
    setting: str | None, switch: str | None, given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    if setting is not None:
        (tmp_path / "enabled").write_text(setting + "\n")
    monkeypatch.setattr(pages, "SETTING", tmp_path / "enabled")
    monkeypatch.delenv(SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(SWITCH, switch)
    assert are_given() is given
    assert isinstance(Predictor.load(bundle, engine="onnxruntime").graph, OnHugePages) is given


ASKED = """
import re
from pathlib import Path
from maskedge import Predictor

predictor = Predictor.load(engine="kernels", threads=1)
predictor.fill(["A word is [MASK]."])
print(re.search(r"^AnonHugePages: +(\\d+) kB$", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)[1])
"""


@pytest.mark.usefixtures("kernels", "linux_gives_them")
@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_kernels_weights_are_in_huge_pages_before_their_first_answer(switch: str) -> None:
    if switch == "0" and "[always]" in pages.SETTING.read_text():
        pytest.skip("Linux gives huge pages to those who do not ask")
    command, environment = [sys.executable, "-c", ASKED], os.environ | {SWITCH: switch}
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment).stdout
    assert (int(said) > 10_000) is (switch == "1")


def test_memory_is_taken_piece_by_piece() -> None:
    """Of small and large pieces, none shares a byte with another."""
    memory = Pages()
    pieces = [memory.take(size) for size in (1, 64, 100, 20 << 20, 3 << 20, 15 << 20, 7)]
    for number, piece in enumerate(pieces, 1):
        assert not piece.any()
        piece[:] = number
    assert all((piece == number).all() for number, piece in enumerate(pieces, 1))
    assert all(piece.ctypes.data % 64 == 0 for piece in pieces)
