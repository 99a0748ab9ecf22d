"""How far a command has come, on standard error: in place on a terminal, as lines elsewhere."""

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from maskedge_export.training.trainer import LogEntry

__all__ = ["Steps", "TrainingMeter"]


class Steps:
    """Shows the step under way with a spinner, and each finished one with its time; plain lines off a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.status = self.console.status("")
        self.step = ""
        self.started = 0.0

    def __enter__(self) -> "Steps":
        self.status.start()
        return self

    def begin(self, step: str) -> None:
        """The step before has ended, and this one begins."""
        self._finish()
        self.step, self.started = step, time.monotonic()
        self.status.update(step)

    def _finish(self) -> None:
        if self.step:
            seconds = time.monotonic() - self.started
            self.console.print(f"[green]✓[/] {self.step} [dim]{seconds:.1f} s[/]", highlight=False)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._finish()
        self.status.stop()


class TrainingMeter:
    """Shows the last line of a training log: in place on a terminal, as a line elsewhere."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.bar = Progress(BarColumn(), TextColumn("{task.description}"))
        self.task = self.bar.add_task("")

    def show(self, entry: "LogEntry") -> None:
        """Tell of a step of the training."""
        left = str(timedelta(seconds=round(entry.seconds_left)))
        line = (
            f"step {entry.step:,} of {entry.steps:,}   loss {entry.loss:.3f}   accuracy {entry.accuracy:.1%}   "
            f"learning rate {entry.learning_rate:.1e}   {entry.tokens_per_second:,.0f} tokens/s   {left} left"
        )
        if entry.held_out_perplexity is not None:
            line += f"   held-out perplexity {entry.held_out_perplexity:.2f}"
        self.bar.update(self.task, completed=entry.step, total=entry.steps, description=line)
        if self.steps.console.is_terminal:
            self.steps.status.update(self.bar.get_renderable())
        if not self.steps.console.is_terminal or entry.held_out_perplexity is not None:
            self.steps.console.print(line, highlight=False, soft_wrap=True)
