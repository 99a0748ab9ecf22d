"""Scores Parquet files with a masked language model and reports how well it knew them.

score_file      a whole file: Parquet -> scored Parquet + HTML, Markdown and JSON reports
score_batches   the pure core: record batches -> record batches, for other engines (Spark's `mapInArrow`, Ray)
"""

from maskedge_batch.columns import Columns, choose_columns, scored_schema
from maskedge_batch.errors import BatchError, InputError, OutputError, WriteError
from maskedge_batch.job import Job, Outcome, score_file
from maskedge_batch.report import Report
from maskedge_batch.scoring import RowStatus, score_batches
from maskedge_batch.statistics import Statistics

__all__ = [
    "BatchError",
    "Columns",
    "InputError",
    "Job",
    "Outcome",
    "OutputError",
    "Report",
    "RowStatus",
    "Statistics",
    "WriteError",
    "choose_columns",
    "score_batches",
    "score_file",
    "scored_schema",
]
