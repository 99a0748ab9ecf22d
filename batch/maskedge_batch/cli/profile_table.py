"""Where a job's time went, as a table for people."""

from rich import box
from rich.console import Console
from rich.table import Table

from maskedge_batch.scoring.profile import Profile

__all__ = ["print_profile"]


def print_profile(profile: Profile, console: Console) -> None:
    """Prints the seconds of each stage, and what share of the time each thread was busy."""
    wall = profile.wall_seconds
    stages = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("stage", "seconds, waiting included", "of them on a CPU", "of the CPU time"):
        stages.add_column(heading, justify="left" if heading == "stage" else "right")
    total = sum(spent.cpu_seconds for spent in profile.stages().values()) or 1.0
    for stage, spent in profile.stages().items():
        share = f"{spent.cpu_seconds / total:.1%}"
        stages.add_row(stage, f"{spent.seconds:,.1f}", f"{spent.cpu_seconds:,.1f}", share)
    threads = Table(box=box.SIMPLE, pad_edge=False)
    threads.add_column("thread")
    threads.add_column(f"busy, of {wall:,.1f} s", justify="right")
    for name, seconds in profile.threads().items():
        threads.add_row(name, f"{seconds / (wall or 1.0):.1%}")
    console.print(stages, threads)
