"""`mlm-batch`: the app, its commands registered."""

import typer

from maskedge.cli.version import Version
from maskedge_batch.cli.compare import compare
from maskedge_batch.cli.heads import heads
from maskedge_batch.cli.mask import mask
from maskedge_batch.cli.pairs import pairs
from maskedge_batch.cli.report import report
from maskedge_batch.cli.score import score

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"auto_envvar_prefix": "MLM"})


@app.callback()
def _describe(version: Version = False) -> None:
    """Score Parquet files with a masked language model.

    Every option can come from the environment: MLM_SCORE_TEXT_COLUMN for mlm-batch score --text-column.
    """


app.command()(score)
app.command()(report)
app.command()(compare)
app.command()(mask)
app.command()(pairs)
app.command()(heads)
