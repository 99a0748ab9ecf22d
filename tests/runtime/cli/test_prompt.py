"""The interactive prompt, in a real pseudo-terminal."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from maskedge.bundle.format import DEFAULT_BUNDLE

RunMlm = Callable[..., "subprocess.CompletedProcess[str]"]
PASTED_NO_MORE = r"\x1b\[\?2004l"
"""What the prompt writes as it lets a line go: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")

# Python warns of any fork in a process with threads; the child executes another program at once.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")]


class Terminal:
    """A terminal with `mlm` running in it."""

    def __init__(self, command: list[str], state: Path) -> None:
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "XDG_STATE_HOME": str(state)}
        self.child = pexpect.spawn(
            command[0], command[1:], env=environment, dimensions=(50, 120), encoding="utf-8", timeout=20
        )
        self.child.delaybeforesend = 0.1

    def type(self, line: str) -> None:
        self.child.send(line + "\r")

    def read_until(self, pattern: str) -> str:
        """What the terminal showed up to the pattern, without its control sequences."""
        self.child.expect(pattern)
        return CONTROL.sub("", f"{self.child.before}{self.child.after}")

    def end_input(self) -> None:
        """Ctrl-D, once the prompt is there: before, it would go to the terminal itself."""
        self.child.expect("mlm")
        self.child.sendeof()

    def exit_code(self) -> int:
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus is not None
        return self.child.exitstatus


@pytest.fixture
def open_terminal(mlm_command: list[str], bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens the prompt with the tiny bundle; its history lies in the test's own directory."""
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal([*mlm_command, "--model", str(bundle), *arguments], tmp_path / "state"))
        opened[-1].read_until("Ctrl-D leaves")
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.child.close(force=True)


def test_a_text_is_filled_and_another_after_it(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("--top-k", "2")
    for text in ("the [MASK] water", "a <mask>"):
        terminal.type(text)
        shown = terminal.read_until("equally likely tokens")
        assert text in shown
        assert len([line for line in shown.splitlines() if line.rstrip().endswith("%")]) == 2


def test_a_text_without_a_mask_is_scored(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal()
    terminal.type("the water")
    terminal.read_until("pseudo-perplexity")


def test_the_commands_change_what_follows(open_terminal: Callable[..., Terminal], bundle: Path) -> None:
    terminal = open_terminal()
    terminal.type(":topk 7")
    terminal.read_until("7 candidates")
    terminal.type("the [MASK]")
    shown = terminal.read_until("equally likely tokens")
    assert len([line for line in shown.splitlines() if line.rstrip().endswith("%")]) == 7
    terminal.type(":help")
    terminal.read_until("leave, as exit and Ctrl-D do")
    terminal.type(f":model {bundle}")
    terminal.read_until("tiny, int8")
    terminal.type(":quit")
    assert terminal.exit_code() == 0


@pytest.mark.parametrize("word", ["exit", "quit", ":quit", " exit "])
def test_who_looks_for_the_way_out_finds_it(open_terminal: Callable[..., Terminal], word: str) -> None:
    terminal = open_terminal()
    terminal.type(word)
    assert terminal.exit_code() == 0


@pytest.mark.parametrize("line", [":topk none", ":topk 0", ":model /no/such/bundle", ":model", ":nonsense"])
def test_a_mistake_is_told_and_the_prompt_goes_on(open_terminal: Callable[..., Terminal], line: str) -> None:
    terminal = open_terminal()
    terminal.type(line)
    terminal.read_until("Error: ")
    terminal.type("the [MASK]")
    terminal.read_until("equally likely tokens")


def test_ctrl_c_gives_up_a_line_and_ctrl_d_ends(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal()
    terminal.child.send("half a line")
    terminal.read_until("half a line")
    terminal.child.sendintr()
    terminal.read_until("mlm")
    terminal.type("the [MASK]")
    shown = terminal.read_until("equally likely tokens")
    assert "\nthe [MASK]\n" in shown
    assert "half a linethe" not in shown
    terminal.end_input()
    assert terminal.exit_code() == 0


def test_ctrl_c_gives_up_an_answer(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("--model", str(DEFAULT_BUNDLE))
    terminal.type("water " * 400)  # seconds to answer
    terminal.child.expect(PASTED_NO_MORE)
    time.sleep(0.5)
    terminal.child.sendintr()
    terminal.type("the [MASK]")
    assert "pseudo-perplexity" not in terminal.read_until("equally likely tokens")


def test_history_outlives_the_session(open_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    first = open_terminal()
    first.type("the [MASK] water")
    first.read_until("equally likely tokens")
    first.end_input()
    assert first.exit_code() == 0
    second = open_terminal()
    second.child.send("\x1b[A\r")  # the arrow upwards
    assert "the [MASK] water" in second.read_until("equally likely tokens")
    (history,) = (tmp_path / "state").rglob("history")
    assert history.stat().st_mode & 0o077 == 0


def test_without_a_terminal_it_reads_lines(run_mlm: RunMlm) -> None:
    ran = run_mlm(stdin="the [MASK]\n:topk 2\nthe [MASK]\n")
    assert ran.returncode == 0
    assert len([line for line in ran.stdout.splitlines() if line.endswith("%")]) == 5 + 2
    assert "mlm>" not in ran.stdout
    assert run_mlm(stdin=":nonsense\n").returncode == 1


def test_a_history_that_cannot_be_kept_is_no_obstacle(mlm_command: list[str], bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    terminal = Terminal([*mlm_command, "--model", str(bundle)], tmp_path / "state")
    terminal.read_until("Ctrl-D leaves")
    terminal.type("the [MASK]")
    terminal.read_until("equally likely tokens")
    terminal.child.close(force=True)
