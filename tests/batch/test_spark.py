"""A Spark DataFrame's rows get the scores that a file's get, whatever their partitions."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from guides import blocks

from maskedge import Predictor
from maskedge_batch.errors import InputError
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.spark import _predictor, score_frame

JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")
pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not JAVA, reason="Spark needs Java, and there is none"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # py4j's sockets
]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "score.md"


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Spark in this process, on two threads."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable  # its workers would be any python3
    local = SparkSession.builder.master("local[2]").config("spark.driver.bindAddress", "127.0.0.1")
    session = local.config("spark.driver.host", "127.0.0.1").config("spark.ui.enabled", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture
def rows(sentences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*sentences[:90], {"id": 90, "text": None, "target": None}, {"id": 91, "text": "", "target": None}]


def test_the_scores_are_those_of_the_rows_in_one_process_bit_for_bit(
    spark: Any, rows: list[dict[str, Any]], bundle: Path, predictor: Predictor
) -> None:
    frame = spark.createDataFrame(rows, "id int, text string, target string").repartition(5)
    scored = score_frame(frame, model=bundle, options=ScoringOptions(top_k=2)).toArrow().sort_by("id")
    batch = pa.Table.from_pylist(rows).combine_chunks().to_batches()[0]
    alone = score_batches(iter([batch]), predictor, Columns("text", "target"), ScoringOptions(top_k=2))
    assert scored.to_pylist() == pa.Table.from_batches(alone).to_pylist()


def test_a_worker_opens_the_bundle_once(spark: Any, rows: list[dict[str, Any]], bundle: Path) -> None:
    frame = spark.createDataFrame(rows, "id int, text string, target string").repartition(6)
    score_frame(frame, model=bundle).collect()
    path = os.fspath(bundle)

    def opened(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = sum(batch.num_rows for batch in batches)
        _predictor(path, "auto", 1)
        yield pa.record_batch({"rows": [rows], "process": [os.getpid()], "opened": [_predictor.cache_info().misses]})

    found = frame.mapInArrow(opened, "rows long, process long, opened long").collect()
    assert sum(row.rows for row in found) == len(rows)
    assert len({row.process for row in found}) <= 2 < len(found) == 6
    assert {row.opened for row in found} == {1}


def test_what_the_frame_lacks_is_said_before_anything_runs(spark: Any) -> None:
    frame = spark.createDataFrame([("a",)], "sentence string")
    with pytest.raises(InputError, match="no text column 'text'"):
        score_frame(frame)


def test_the_guide_s_program_runs(spark: Any, tmp_path: Path) -> None:
    (program,) = [block.body for block in blocks(GUIDE.read_text("utf-8")) if block.title == "score_with_spark.py"]
    shutil.copyfile(GUIDE.parents[2] / "examples" / "masked_sentences.parquet", tmp_path / "sentences.parquet")
    here = program.replace('parquet("', f'parquet("{tmp_path}/')  # Spark's own directory was fixed when it started
    exec(compile(here, "score_with_spark.py", "exec"), {})
    assert spark.read.parquet(str(tmp_path / "scored")).where("mlm_status = 'ok'").count() > 300
