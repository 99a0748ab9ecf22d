"""What verifying a bundle found, as a table for a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from maskedge.bundle.cpu import CpuFeatures
from maskedge.bundle.golden_vectors import Verification
from maskedge.cli.tables import labelled, plain_table

__all__ = ["cpu_line", "verification_table"]


def verification_table(name: str, files: int, verifications: Sequence[Verification]) -> RenderableType:
    """A row for each graph, and what the differences mean on this CPU."""
    table = plain_table("graph", ">golden vectors", ">largest difference", ">allowed", "best tokens", "")
    for found in verifications:
        table.add_row(
            found.precision,
            str(found.vectors),
            f"{found.max_logprob_difference:.1e} nats",
            f"{found.tolerance:g} nats",
            "the same" if found.same_best_tokens else "others",
            _verdict(found),
        )
    return Group(labelled(_head(name, files, verifications)), "", table)


def _head(name: str, files: int, verifications: Sequence[Verification]) -> Iterator[tuple[str, RenderableType]]:
    yield "model", Text(name, style="bold")
    yield "files", f"{files}, each with the SHA-256 of the manifest"
    yield "this CPU", cpu_line(verifications[0].cpu)
    yield "runtime", ", ".join(f"{found.precision} in {found.engine}" for found in verifications)


def cpu_line(cpu: CpuFeatures) -> str:
    """The CPU's kind, and what it multiplies 8-bit integers with."""
    known = ", ".join(cpu.names) or "no instructions for 8-bit products"
    return f"{cpu.architecture}: {known}" if cpu.known else f"{cpu.architecture}, its instructions are not known"


def _verdict(found: Verification) -> Text:
    if found.passed:
        return Text("passed", style="green")
    return Text("failed: 8-bit sums saturate" if found.saturates else "failed", style="bold red")
