"""Where a job's time went, for people or for machines."""

from rich import box
from rich.table import Table

from maskedge_batch.cli.command import log, people
from maskedge_batch.scoring.profile import Profile

__all__ = ["show_profile"]


def show_profile(profile: Profile) -> None:
    """Says on standard error how long each stage took, and what share of the time each thread was busy."""
    if console := people():
        console.print(_stages(profile), _threads(profile))
        return
    stages = {
        stage.value: {"seconds": spent.seconds, "cpu_seconds": spent.cpu_seconds}
        for stage, spent in profile.stages().items()
    }
    said = {"wall_seconds": profile.wall_seconds, "stages": stages, "thread_cpu_seconds": profile.threads()}
    log.info("Where the time went.", extra=said)


def _stages(profile: Profile) -> Table:
    stages = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("stage", "seconds, waiting included", "of them on a CPU", "of the CPU time"):
        stages.add_column(heading, justify="left" if heading == "stage" else "right")
    total = sum(spent.cpu_seconds for spent in profile.stages().values()) or 1.0
    for stage, spent in profile.stages().items():
        share = f"{spent.cpu_seconds / total:.1%}"
        stages.add_row(stage, f"{spent.seconds:,.1f}", f"{spent.cpu_seconds:,.1f}", share)
    return stages


def _threads(profile: Profile) -> Table:
    wall = profile.wall_seconds
    threads = Table(box=box.SIMPLE, pad_edge=False)
    threads.add_column("thread")
    threads.add_column(f"busy, of {wall:,.1f} s", justify="right")
    for name, seconds in profile.threads().items():
        threads.add_row(name, f"{seconds / (wall or 1.0):.1%}")
    return threads
