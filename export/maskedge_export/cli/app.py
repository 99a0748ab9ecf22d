"""`mlm-export`: its commands, and what becomes of errors."""

import typer
from rich.console import Console

from maskedge.cli.version import Version
from maskedge.errors import MaskedgeError
from maskedge.extras import exit_without_extra
from maskedge_export.cli.bundle_commands import FAILURE, bundle, compare, inspect, push, verify
from maskedge_export.cli.training_commands import adapt, average, train
from maskedge_export.signals import RaisingStop, Stopped

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (bundle, verify, inspect, push, compare, train, adapt, average):
    app.command()(command)


def main() -> None:
    """Runs the command line. Errors that a person can act on are one line; Ctrl-C leaves nothing half written."""
    stop = RaisingStop()
    console = Console(stderr=True)
    try:
        app()
    except (Stopped, Exception) as error:
        stop.over()
        if stop.number is not None:  # whatever came of it: Stopped, or what that left behind on its way
            console.print("Stopped before the end: nothing is left half written.")
            raise SystemExit(128 + stop.number) from None
        if isinstance(error, ModuleNotFoundError):
            exit_without_extra("mlm-export", "export", error)
        if not isinstance(error, MaskedgeError):
            raise
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(FAILURE) from None


@app.callback()
def _describe(version: Version = False) -> None:
    """Turn masked language models into verified ONNX bundles for plain CPUs."""
