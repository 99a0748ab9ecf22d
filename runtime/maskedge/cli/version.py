"""`--version`, which every command line has."""

from importlib.metadata import version
from typing import Annotated

import typer

__all__ = ["Version"]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"maskedge {version('maskedge')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, allow_from_autoenv=False, help="Print maskedge's version."
    ),
]
