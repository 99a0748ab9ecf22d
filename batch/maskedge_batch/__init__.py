"""Scores Parquet files with a masked language model and reports how well it knew them.

`score_file` takes whole files: Parquet -> scored Parquet + HTML, Markdown and JSON reports. `score_batches` is the
pure core: record batches -> record batches, for other engines (Spark's `mapInArrow`, Ray). What needs pyarrow is
imported when it is first asked for: importing the package loads nothing heavy.
"""

from typing import TYPE_CHECKING

from maskedge.extras import on_demand
from maskedge_batch.errors import (
    BatchError,
    DamagedError,
    InputError,
    LocationError,
    OutputError,
    StoppedError,
    WorkerError,
    WriteError,
)

if TYPE_CHECKING:
    from maskedge_batch.evaluation.candidates import Choice
    from maskedge_batch.evaluation.masking import Masking, mask_batches
    from maskedge_batch.evaluation.pairs import PairScoring, score_pairs
    from maskedge_batch.heads.report import HeadsReport
    from maskedge_batch.inputs.input_set import SetAside
    from maskedge_batch.inputs.selection import Selection
    from maskedge_batch.reports.comparing import make_comparison
    from maskedge_batch.reports.comparison import Comparison
    from maskedge_batch.reports.measuring import make_report
    from maskedge_batch.reports.pairs import PairsReport
    from maskedge_batch.reports.report import Report
    from maskedge_batch.runs.estimating import Estimate, estimate
    from maskedge_batch.runs.heads import HeadsJob, HeadsOutcome, report_on_heads
    from maskedge_batch.runs.job import Job, Outcome, score_file
    from maskedge_batch.runs.masking import MaskJob, MaskOutcome, mask_file
    from maskedge_batch.runs.pairs import PairsJob, PairsOutcome, score_pairs_file
    from maskedge_batch.scoring.batches import score_batches
    from maskedge_batch.scoring.columns import Columns
    from maskedge_batch.scoring.options import ScoringOptions
    from maskedge_batch.scoring.profile import Profile
    from maskedge_batch.scoring.rows import RowStatus
    from maskedge_batch.spark import score_frame

__all__ = [
    "score_file",
    "Job",
    "Outcome",
    "Selection",
    "SetAside",
    "estimate",
    "Estimate",
    "Report",
    "make_report",
    "make_comparison",
    "Comparison",
    "score_batches",
    "Columns",
    "ScoringOptions",
    "Profile",
    "RowStatus",
    "score_frame",
    "mask_file",
    "MaskJob",
    "MaskOutcome",
    "mask_batches",
    "Masking",
    "Choice",
    "score_pairs_file",
    "PairsJob",
    "PairsOutcome",
    "PairsReport",
    "score_pairs",
    "PairScoring",
    "report_on_heads",
    "HeadsJob",
    "HeadsOutcome",
    "HeadsReport",
    "BatchError",
    "DamagedError",
    "InputError",
    "LocationError",
    "OutputError",
    "StoppedError",
    "WorkerError",
    "WriteError",
]

_CONTENTS = {
    "scoring.columns": ["Columns"],
    "scoring.options": ["ScoringOptions"],
    "spark": ["score_frame"],
    "evaluation.candidates": ["Choice"],
    "evaluation.masking": ["Masking", "mask_batches"],
    "evaluation.pairs": ["PairScoring", "score_pairs"],
    "reports.pairs": ["PairsReport"],
    "runs.pairs": ["PairsJob", "PairsOutcome", "score_pairs_file"],
    "runs.masking": ["MaskJob", "MaskOutcome", "mask_file"],
    "heads.report": ["HeadsReport"],
    "runs.heads": ["HeadsJob", "HeadsOutcome", "report_on_heads"],
    "runs.estimating": ["Estimate", "estimate"],
    "inputs.input_set": ["SetAside"],
    "inputs.selection": ["Selection"],
    "runs.job": ["Job", "Outcome", "score_file"],
    "reports.comparing": ["make_comparison"],
    "reports.comparison": ["Comparison"],
    "reports.measuring": ["make_report"],
    "reports.report": ["Report"],
    "scoring.profile": ["Profile"],
    "scoring.rows": ["RowStatus"],
    "scoring.batches": ["score_batches"],
}
__getattr__ = on_demand(__name__, "batch", _CONTENTS)


def __dir__() -> list[str]:
    return __all__
