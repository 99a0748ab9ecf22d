"""The pages of docs/ as programs: their blocks are run in the page's order, in one directory, as a reader would.

- console   what follows `$ ` is a command, and the lines after it what it prints; without such lines, anything
- python    run in one namespace a page; a `text` block right after it is what it prints
- a block with a title is a file of that name

In what is printed, blanks do not count, `...` stands for anything, and a number may be off by a tenth: int8 differs
from one kind of CPU to another.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

__all__ = ["Block", "blocks", "commands", "prints_what_is_shown", "run_page", "show_anew"]

FENCE = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
BAR = re.compile(r"[▏▎▍▌▋▊▉█]+")
TOLERANCE = 0.1

Compare = Callable[[str, str], None]
"""(what a page shows of an output, what was printed)"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    body: str
    line: int
    """Of the page, from 1: where its first line stands."""


def blocks(page: str) -> list[Block]:
    """The page's fenced blocks."""
    return [
        Block(found["language"], found["title"], found["body"], page[: found.start("body")].count("\n") + 1)
        for found in FENCE.finditer(page)
    ]


def commands(page: str) -> list[str]:
    """The commands of a page, without their comments."""
    bodies = [block.body for block in blocks(page) if block.language == "console" and not block.title]
    asked = [command for body in bodies for command, _ in _commands(body)]
    return [shlex.join(shlex.split(command, comments=True)) for command in asked]


def run_page(path: Path, directory: Path, compare: Compare | None = None) -> None:
    """Runs all blocks of a page in a directory. Raises AssertionError, naming page and line, where one fails.

    `compare` is given what is shown of each output and what was printed; by default it raises where they differ.
    """
    found = blocks(path.read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(directory):
        for block, following in zip_longest(found, found[1:]):
            try:
                _run(block, following, namespace, compare or _compare)
            except Exception as error:
                raise AssertionError(f"{path.name}:{block.line}: {error}") from error


def show_anew(path: Path, directory: Path) -> None:
    """Runs a page, and lets it show what was printed: numbers that would pass, too, so that they fit one another."""
    outputs: list[tuple[str, str]] = []
    run_page(path, directory, lambda shown, printed: outputs.append((shown, printed)))
    page, place = path.read_text(encoding="utf-8"), 0
    for shown, printed in outputs:
        place = page.index(shown, place)
        new = shown if _same_words(_words(shown), _words(printed), str.__eq__) else _with_gaps_of(shown, printed)
        page = page[:place] + new + page[place + len(shown) :]
        place += len(new)
    path.write_text(page, encoding="utf-8")


def _with_gaps_of(shown: str, printed: str) -> str:
    """What was printed, shortened as it was shown: of the lines between two `...`, those that are most like them."""
    lines = [line.rstrip() for line in re.sub(r"\A\s*\n|\s+\Z", "", printed).splitlines()]
    pieces = [piece.splitlines() for piece in re.split(r"^\.\.\.\n", shown.rstrip() + "\n", flags=re.MULTILINE)]
    if len(pieces) == 1:
        return _joined([_kept_open(pieces[0], lines)])
    found, start = [], 0
    for piece in pieces:
        start = _most_alike(piece, lines, start)
        found.append(_kept_open(piece, lines[start : start + len(piece)]))
        start += len(piece)
    return _joined(found)


def _most_alike(piece: list[str], lines: list[str], start: int) -> int:
    """Where in the lines, from `start` on, as many of them are most like a piece's."""
    last = max(start, len(lines) - len(piece))

    def likeness(place: int) -> float:
        there = lines[place : place + len(piece)]
        return sum(SequenceMatcher(None, *pair).ratio() for pair in zip(piece, there, strict=False))

    return max(range(last, start - 1, -1), key=likeness)  # of equals the last: what is shown after `...` mostly ends it


def _kept_open(shown: list[str], printed: list[str]) -> list[str]:
    """What was printed; where a line says `...` for what differs from run to run, it goes on to."""
    open_lines = {before.split()[0]: before for before in shown if before.endswith(" ...")}
    return [open_lines.get(line.split()[0], line) if line else line for line in printed]


def _joined(pieces: list[list[str]]) -> str:
    return "...\n".join("".join(f"{line}\n" for line in piece) for piece in pieces)


def _run(block: Block, following: Block | None, namespace: dict[str, Any], compare: Compare) -> None:
    if block.title:
        Path(block.title).write_text(block.body, encoding="utf-8")
    elif block.language == "console":
        for command, shown in _commands(block.body):
            compare(shown, _run_command(command)) if shown else _run_command(command)
    elif block.language == "python":
        printed = _run_python(block, namespace)
        compare(following.body if following and following.language == "text" else "", printed)


def _commands(body: str) -> Iterator[tuple[str, str]]:
    """Each command with the lines that are shown as its output."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = f"{command[:-1]}{more}"
        yield command, shown


def _run_python(block: Block, namespace: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.body, "<page>", "exec"), namespace)
    return printed.getvalue()


def _run_command(command: str) -> str:
    """What a command prints. Installations are looked up, not done; what loads PyTorch runs in this process."""
    program, *arguments = shlex.split(command, comments=True)
    if program in INSTALLERS:
        return INSTALLERS[program](arguments)
    if program == "mlm-export":
        return _mlm_export(arguments)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        ["bash", "-euc", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, f"{command} exited {ran.returncode}: {ran.stderr}"
    return ran.stdout


def _mlm_export(arguments: list[str]) -> str:
    from typer.testing import CliRunner

    from maskedge_export.cli.app import app

    ran = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def _extra_exists(arguments: list[str]) -> str:
    """pip: whether the extras of maskedge that are asked for exist."""
    known = metadata.metadata("maskedge").get_all("Provides-Extra") or []
    asked = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
    unknown = set(",".join(asked).split(",")) - {"", *known}
    assert arguments[0] == "install", f"pip {arguments[0]}"
    assert not unknown, f"there is no extra {unknown}"
    return ""


def _locked(arguments: list[str]) -> str:
    """npm: whether the packages are those that the tests in Node have."""
    locked = (Path(__file__).parents[1] / "node" / "package.json").read_text(encoding="utf-8")
    for package in (argument for argument in arguments[1:] if not argument.startswith("-")):
        name, _, version = package.rpartition("@")
        assert f'"{name}": "{version}"' in locked, f"{package} is not what the tests have"
    return ""


INSTALLERS = {"pip": _extra_exists, "npm": _locked}


def _compare(shown: str, printed: str) -> None:
    assert prints_what_is_shown(shown, printed), f"shown:\n{shown}\nprinted:\n{printed}"


def prints_what_is_shown(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed."""
    return _same_words(_words(shown), _words(printed), _same_word)


def _words(text: str) -> list[str]:
    return BAR.sub("", text).split()


def _same_words(shown: list[str], printed: list[str], same_word: Callable[[str, str], bool]) -> bool:
    for place, word in enumerate(shown):
        if word == "...":
            rest = shown[place + 1 :]
            return any(_same_words(rest, printed[start:], same_word) for start in range(place, len(printed) + 1))
        if place >= len(printed) or not same_word(word, printed[place]):
            return False
    return len(shown) == len(printed)


def _same_word(shown: str, printed: str) -> bool:
    if NUMBER.sub("0", shown) != NUMBER.sub("0", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(_close(shown_number, number) for shown_number, number in pairs)


def _close(shown: str, printed: str) -> bool:
    """Within a tenth, or a unit of the last decimal that is shown."""
    decimals = len(shown.partition("e")[0].partition(".")[2])
    unit = 10.0**-decimals if decimals and "e" not in shown else 0.0
    expected, found = (float(number.replace(",", "")) for number in (shown, printed))
    return abs(expected - found) <= max(TOLERANCE * abs(expected), unit) + 1e-12
