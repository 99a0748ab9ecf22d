"""Shows how far a job is: a bar on a terminal, a line now and then anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from maskedge_batch.cli.command import log, terminal

__all__ = ["ProgressDisplay", "clock", "speed"]

LINE_SECONDS = 5.0
"""Seconds between two lines where there is no terminal."""


class ProgressDisplay:
    """A context manager whose `update` takes a job's progress."""

    def __init__(self, doing: str = "scoring") -> None:
        console = terminal()
        self._in_lines = console is None
        self._bar = Progress(
            TextColumn(f"[bold]{doing}[/]"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[pace]}"),
            console=console,
            transient=True,
            expand=True,
            disable=console is None,
        )
        self._task: TaskID | None = None
        self._start = self._spoke = time.monotonic()
        self._before = 0
        """Rows that an earlier run had done."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Takes the rows done, those of an earlier run among them, and the rows there are."""
        now = time.monotonic()
        if is_first := self._task is None:
            self._start, self._before = now, done
            self._task = self._bar.add_task("", total=total, pace="")
        pace = _pace(done, total, done - self._before, now - self._start)
        self._bar.update(self._task, completed=done, pace=pace)
        if self._in_lines and (is_first or done == total or now - self._spoke >= LINE_SECONDS):
            self._spoke = now
            log.info(pace, extra={"rows": done, "rows_total": total})


def _pace(done: int, total: int, just_done: int, seconds: float) -> str:
    rows = f"{done:,} of {total:,} rows"
    if not just_done or seconds <= 0:
        return rows
    pace = just_done / seconds
    paced = f"{rows}, {speed(pace)} rows/s"
    return paced if done == total else f"{paced}, {clock((total - done) / pace)} left"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def speed(rows_per_second: float) -> str:
    """Rows a second, with a decimal where there are few."""
    return f"{rows_per_second:,.{1 if rows_per_second < 10 else 0}f}"
