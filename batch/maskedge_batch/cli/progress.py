"""Shows how far a job is: a bar on a terminal, a line now and then anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from maskedge_batch.cli.command import log, terminal

__all__ = ["ProgressDisplay"]

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

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Takes the rows done and the rows there are."""
        now = time.monotonic()
        if done == 0:
            self._start = now
        pace = _pace(done, total, now - self._start)
        if self._task is None:
            self._task = self._bar.add_task("", total=total, pace=pace)
        self._bar.update(self._task, completed=done, pace=pace)
        if self._in_lines and (done in (0, total) or now - self._spoke >= LINE_SECONDS):
            self._spoke = now
            log.info(pace, extra={"rows": done, "rows_total": total})


def _pace(done: int, total: int, seconds: float) -> str:
    rows = f"{done:,} of {total:,} rows"
    if not done or seconds <= 0:
        return rows
    speed = done / seconds
    return f"{rows}, {speed:,.0f} rows/s, {_clock((total - done) / speed)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
