"""Lines from a terminal, with editing, history and completion; plain lines from anything else."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import create_output

from maskedge.text_lines import Line

__all__ = ["line_reader"]

ReadLine = Callable[[], str]
"""The next line. Raises EOFError at the end, KeyboardInterrupt on Ctrl-C, TextError for one that is not UTF-8."""


def line_reader(
    lines: Iterator[Line] | None, history: Path, words: Iterable[str], status: Callable[[], str]
) -> ReadLine:
    """What reads `lines`; where there are none, the terminal's, with the history kept in a file, `words` completed, and
    `status` below the line."""
    if lines is not None:
        return partial(_plain_line, lines)
    session: PromptSession[str] = PromptSession(
        FormattedText([("ansicyan bold", "mlm"), ("", "> ")]),
        history=_history(history),
        completer=WordCompleter(list(words), sentence=True),
        complete_while_typing=False,
        bottom_toolbar=lambda: FormattedText([("noreverse ansibrightblack", status())]),
        reserve_space_for_menu=4,
        output=create_output(always_prefer_tty=True),  # standard output may be a file: it gets the results only
    )
    return session.prompt


def _plain_line(lines: Iterator[Line]) -> str:
    line = next(lines, None)
    if line is None:
        raise EOFError
    return line.text


def _history(path: Path) -> History:
    """Kept in the file, readable by its owner only; in memory where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("ab"):
            return FileHistory(path)
    except OSError:
        return InMemoryHistory()
