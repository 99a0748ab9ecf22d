"""Scored files -> their report."""

from collections.abc import Callable, Sequence

from maskedge_batch.reports import bootstrap
from maskedge_batch.reports.bootstrap import Resampling
from maskedge_batch.reports.breakdowns import masked_breakdowns, unmasked_breakdowns
from maskedge_batch.reports.calibration import calibration
from maskedge_batch.reports.definitions import DEFINITIONS
from maskedge_batch.reports.examples import EXAMPLES, examples
from maskedge_batch.reports.figures import RATED, RATED_ROWS, MaskedMeasure, UnmaskedMeasure, figures_by
from maskedge_batch.reports.grouping import group_sums
from maskedge_batch.reports.histogram import filled
from maskedge_batch.reports.quantiles import quantiles
from maskedge_batch.reports.report import (
    Intervals,
    MaskedMetrics,
    Report,
    RunFacts,
    Spread,
    UnmaskedMetrics,
)
from maskedge_batch.reports.scored import ScoredFiles, open_scored
from maskedge_batch.reports.tables import Database, fill_tables, open_database
from maskedge_batch.storage.locations import Location, Place

__all__ = ["make_report"]

QUANTILES = {"5 %": 0.05, "25 %": 0.25, "50 %": 0.5, "75 %": 0.75, "95 %": 0.95}


def make_report(
    paths: Sequence[Place],
    *,
    by: Sequence[str] = (),
    run: RunFacts | None = None,
    check: Callable[[], None] = lambda: None,
) -> Report:
    """The report on files that one job scored. Memory does not grow with them.

    Args:
        paths: Scored Parquet files, or directories of them.
        by: Columns whose values divide the rows into groups that are reported apart.
        run: How the run went, where that is known.
        check: Called between batches of rows; to stop, it raises.

    Raises:
        LocationError: There is no way to a place that was named.
        InputError: A file is no scored one or is damaged, files are of different jobs, or a column does not exist.
    """
    scored = open_scored(paths)
    resampling = Resampling(min(scored.rows, bootstrap.BUCKETS))
    with open_database() as database:
        fill_tables(database, scored, by, check=check)
        statuses = dict(database.execute("SELECT status, count(*) FROM rows GROUP BY status").fetchall())
        (truncated,) = database.execute("SELECT count(*) FROM rows WHERE truncated").fetchall()[0]
        return Report(
            title=run.input if run else _name(scored.paths),
            files=(run.output,) if run else tuple(path.name for path in scored.paths),
            provenance=scored.provenance,
            run=run,
            rows=scored.rows,
            rows_ok=statuses.pop("ok", 0),
            rows_truncated=truncated,
            set_aside=dict(sorted(statuses.items(), key=lambda item: (-item[1], item[0]))),
            masked=_masked(database, scored, by, resampling),
            unmasked=_unmasked(database, scored, by, resampling),
            intervals=Intervals(bootstrap.LEVEL, bootstrap.RESAMPLES, resampling.buckets),
            definitions=DEFINITIONS,
        )


def _name(paths: Sequence[Location]) -> str:
    return paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"


def _masked(database: Database, scored: ScoredFiles, by: Sequence[str], resampling: Resampling) -> MaskedMetrics | None:
    all_masks = group_sums(database, "masks", {"entropy": "entropy"}, resampling).cells
    if not all_masks:
        return None
    (masks,) = all_masks.values()
    entropy = masks.mean("entropy")
    assert entropy is not None  # a mask has an entropy
    measure = MaskedMeasure(scored.provenance.top_k)
    pieces = figures_by(database, measure, RATED, "pieces > 1", resampling)
    overall = figures_by(database, measure, RATED, "0", resampling).get(0)
    return MaskedMetrics(
        rows=masks.rows,
        masks=masks.count("entropy"),
        mean_entropy=entropy,
        overall=overall,
        single_piece=pieces.get(False),
        several_pieces=pieces.get(True),
        calibration=calibration(database, resampling),
        spread=_spread(database, scored, "masks IS NOT NULL") if overall else None,
        breakdowns=masked_breakdowns(database, by, measure, resampling) if overall else (),
    )


def _unmasked(
    database: Database, scored: ScoredFiles, by: Sequence[str], resampling: Resampling
) -> UnmaskedMetrics | None:
    measure = UnmaskedMeasure()
    overall = figures_by(database, measure, RATED_ROWS, "0", resampling).get(0)
    if overall is None:
        return None
    return UnmaskedMetrics(
        overall=overall,
        spread=_spread(database, scored, "pll IS NOT NULL"),
        breakdowns=unmasked_breakdowns(database, by, measure, resampling),
    )


def _spread(database: Database, scored: ScoredFiles, kind: str) -> Spread:
    rated = f"rows WHERE perplexity IS NOT NULL AND {kind}"
    (rows,) = database.execute(f"SELECT count(*) FROM {rated}").fetchall()[0]
    values = quantiles(database, "perplexity", rated, list(QUANTILES.values()))
    bins = dict(database.execute(f"SELECT bin, count(*) FROM {rated} GROUP BY bin").fetchall())

    def extreme(order: str) -> list[tuple[int, float]]:
        query = f"SELECT row, perplexity FROM {rated} ORDER BY perplexity {order}, row LIMIT {EXAMPLES}"
        return database.execute(query).fetchall()

    return Spread(
        rows=rows,
        quantiles=dict(zip(QUANTILES, values, strict=True)),
        histogram=filled(bins),
        hardest=examples(scored, extreme("DESC")),
        easiest=examples(scored, extreme("ASC")),
    )
