"""Scores the rows of a Spark DataFrame where they are: `score_batches` in `DataFrame.mapInArrow`.

Every worker needs maskedge, pyarrow and the bundle. Nothing else changes hands: Spark plans the partitions, and a row's
scores are the same bits as those of `mlm-batch score`.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from maskedge import Predictor
from maskedge.bundle.engine import EngineChoice
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import choose_columns, scored_schema
from maskedge_batch.scoring.options import ScoringOptions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["score_frame"]


def score_frame(
    frame: "DataFrame",
    *,
    model: str | os.PathLike[str] | None = None,
    text_column: str = "text",
    target_column: str | None = None,
    targets: bool = True,
    options: ScoringOptions = ScoringOptions(),  # noqa: B008  frozen
    runtime: EngineChoice = "auto",
) -> "DataFrame":
    """The frame with the columns that `mlm-batch score` adds. As always in Spark, nothing is scored until they are
    asked for; and they are scored again whenever they are, unless the frame is written or cached.

    Each of Spark's Python workers opens the bundle once, with as many threads as Spark gives a task CPUs.

    Args:
        frame: A column of texts, and any others.
        model: A bundle's directory on every worker, or its id on the Hugging Face Hub; None: the bundled English model.
        text_column: The column with the texts.
        target_column: The column with the masked words; None: "target" where there is one that can hold words.
        targets: False: no column holds masked words.
        options: What is to be found out of each row.
        runtime: What runs the graph, as in `Job`; `auto` is chosen by each worker, for its own CPU.

    Raises:
        InputError: The frame lacks a column, or has one of a score's name.
    """
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    schema = to_arrow_schema(frame.schema)
    columns = choose_columns(schema, text_column, target_column, targets=targets)
    bundle = None if model is None else os.fspath(model)

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from score_batches(batches, _predictor(bundle, runtime, _task_cpus()), columns, options)

    return frame.mapInArrow(score, from_arrow_schema(scored_schema(schema)))


@lru_cache(1)
def _predictor(model: str | None, runtime: EngineChoice, threads: int) -> Predictor:
    return Predictor.load(model, engine=runtime, threads=threads)


def _task_cpus() -> int:
    from pyspark import TaskContext

    task = TaskContext.get()
    return task.cpus() if task else 1
