"""What a command prints at its end: figures, and the files that hold more."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_summary"]


def print_summary(figures: Iterable[tuple[str, str]], files: Mapping[str, object], console: Console) -> None:
    """Prints figures and files, each with what it is called."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    for label, value in figures:
        table.add_row(label, value)
    console.print(table)
    # Outside the table: paths stay in one piece however narrow the terminal is.
    for label, path in files.items():
        console.print(f"  [bold]{label}[/]  ", Text(str(path)), sep="", soft_wrap=True, highlight=False)
