"""Is the most probable token right as often as its probability says?

The expected calibration error (Naeini et al. 2015; Guo et al. 2017) over bins of equal width.
"""

from maskedge_batch.reports.bootstrap import Resampling
from maskedge_batch.reports.grouping import Cell, group_sums
from maskedge_batch.reports.report import Calibration, CalibrationBin
from maskedge_batch.reports.tables import Database

__all__ = ["BINS", "calibration"]

BINS = 10
ASKED = "(SELECT * FROM masks WHERE rank IS NOT NULL AND top IS NOT NULL)"
QUANTITIES = {"confidence": "top", "right": "(rank = 1)::DOUBLE"}


def calibration(database: Database, resampling: Resampling) -> Calibration | None:
    """Of all masks with a target of one piece; None where there are none, or no predictions were kept."""
    key = f"least(floor(top * {BINS}), {BINS - 1})::BIGINT"
    cells = group_sums(database, ASKED, QUANTITIES, resampling, key=key).cells
    if not cells:
        return None
    bins = tuple(_bin(number, cell) for number, cell in cells.items())
    masks = sum(each.masks for each in bins)
    error = sum(each.masks / masks * abs(each.accuracy.value - each.confidence) for each in bins)
    return Calibration(masks, error, bins)


def _bin(number: int, cell: Cell) -> CalibrationBin:
    masks = cell.count("right")
    accuracy = cell.mean("right")
    assert accuracy is not None
    return CalibrationBin(
        low=number / BINS,
        high=(number + 1) / BINS,
        masks=masks,
        confidence=cell.sums["confidence"].value / masks,
        accuracy=accuracy,
    )
