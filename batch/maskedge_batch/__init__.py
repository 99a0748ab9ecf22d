"""Scores Parquet files with a masked language model and reports how well it knew them.

`score_file` takes a whole file: Parquet -> scored Parquet + HTML, Markdown and JSON reports. `score_batches` is the
pure core: record batches -> record batches, for other engines (Spark's `mapInArrow`, Ray). What needs pyarrow is
imported when it is first asked for: importing the package loads nothing heavy.
"""

from typing import TYPE_CHECKING

from maskedge.extras import on_demand
from maskedge_batch.errors import BatchError, InputError, OutputError, StoppedError, WriteError

if TYPE_CHECKING:
    from maskedge_batch.columns import Columns
    from maskedge_batch.job import Job, Outcome, score_file
    from maskedge_batch.report import Report
    from maskedge_batch.scoring import RowStatus, score_batches

__all__ = [
    "score_file",
    "Job",
    "Outcome",
    "Report",
    "score_batches",
    "Columns",
    "RowStatus",
    "BatchError",
    "InputError",
    "OutputError",
    "StoppedError",
    "WriteError",
]

_CONTENTS = {
    "columns": ["Columns"],
    "job": ["Job", "Outcome", "score_file"],
    "report": ["Report"],
    "scoring": ["RowStatus", "score_batches"],
}
__getattr__ = on_demand(__name__, "batch", _CONTENTS)


def __dir__() -> list[str]:
    return __all__
