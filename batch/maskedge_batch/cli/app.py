"""`mlm-batch`: the app, its commands registered."""

import typer

from maskedge_batch.cli.score import score

__all__ = ["app"]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _describe() -> None:
    """Score Parquet files with a masked language model."""


app.command()(score)
