"""Minimal pairs from file to files."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge import Predictor
from maskedge_batch.errors import InputError, OutputError, StoppedError
from maskedge_batch.evaluation.pairs import PairScoring
from maskedge_batch.runs.pairs import PairsJob, score_pairs_file
from maskedge_batch.runs.stopping import StopRequest

WriteInput = Callable[..., Path]
EXAMPLE = Path(__file__).parents[3] / "examples" / "minimal_pairs.parquet"


@pytest.fixture
def source(write_input: WriteInput, words: list[str]) -> Path:
    def sentence(i: int) -> str:
        return " ".join(words[(i * 13 + j * (1 + i % 3)) % len(words)] for j in range(3 + i % 3))

    return write_input(
        {
            "id": list(range(40)),
            "good": [sentence(i) for i in range(40)],
            "bad": [sentence(i + 100) if i else None for i in range(40)],
            "kind": [i % 6 for i in range(40)],
        },
        "suite",
    )


SCORING = PairScoring("good", "bad")


def test_accuracy_is_that_of_a_slow_loop(source: Path, bundle: Path, predictor: Predictor) -> None:
    outcome = score_pairs_file(PairsJob(source, None, bundle, SCORING, ("kind",)))
    right: dict[str, list[bool]] = {}
    for row in pq.read_table(source).to_pylist():
        if row["bad"] is not None:
            good, bad = predictor.score([row["good"], row["bad"]], method="within_word_l2r")
            right.setdefault(str(row["kind"]), []).append(good.pll > bad.pll)
    report = outcome.report
    assert report.overall is not None
    assert (report.overall.pairs, report.set_aside) == (39, {"null_text": 1})
    assert report.overall.correct == sum(map(sum, right.values()))
    assert {name: (each.correct, each.pairs) for name, each in report.grouped[0].groups.items()} == {
        name: (sum(each), len(each)) for name, each in right.items()
    }


def test_all_files_appear_and_the_scored_one_holds_every_row(source: Path, bundle: Path) -> None:
    outcome = score_pairs_file(PairsJob(source, None, bundle, SCORING))
    assert {path.name for path in source.parent.iterdir()} == {
        "suite.parquet", "suite.pairs.parquet", "suite.pairs.html", "suite.pairs.md", "suite.pairs.json",
    }  # fmt: skip
    table = pq.read_table(outcome.output)
    assert table.select(["id", "good", "bad", "kind"]).equals(pq.read_table(source))
    said = json.loads((table.schema.metadata or {})[b"maskedge_pairs"])
    assert said["options"] == {"good": "good", "bad": "bad", "method": "within_word_l2r", "normalize": "sum"}


def test_json_lines_are_read_as_the_suites_come(source: Path, tmp_path: Path, bundle: Path) -> None:
    lines = tmp_path / "suite.jsonl"
    rows = pq.read_table(source).to_pylist()
    lines.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    of_lines = score_pairs_file(PairsJob(lines, tmp_path / "a.parquet", bundle, SCORING))
    of_parquet = score_pairs_file(PairsJob(source, tmp_path / "b.parquet", bundle, SCORING))
    assert pq.read_table(of_lines.output).equals(pq.read_table(of_parquet.output))


def test_columns_that_are_not_there_are_named_before_the_model_loads(source: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no-bundle"
    with pytest.raises(InputError, match="no text column 'sentence_good': name one of its columns with --good"):
        score_pairs_file(PairsJob(source, None, missing))
    with pytest.raises(InputError, match="no column 'typo' to group by"):
        score_pairs_file(PairsJob(source, None, missing, SCORING, ("typo",)))
    with pytest.raises(OutputError, match="is the input itself"):
        score_pairs_file(PairsJob(source, source, missing, SCORING))


def test_a_stopped_job_leaves_nothing(source: Path, bundle: Path) -> None:
    stop = StopRequest()
    with pytest.raises(StoppedError):
        score_pairs_file(PairsJob(source, None, bundle, SCORING), lambda done, total: stop.ask(), stop)
    assert [path.name for path in source.parent.iterdir()] == ["suite.parquet"]


def test_no_pairs_make_files_that_say_so(write_input: WriteInput, bundle: Path) -> None:
    empty = pa.table({"good": pa.array([], pa.string()), "bad": pa.array([], pa.string())})
    outcome = score_pairs_file(PairsJob(write_input(empty), None, bundle, SCORING))
    assert outcome.report.pairs == 0
    assert "holds no pairs" in outcome.markdown.read_text(encoding="utf-8")


def test_the_example_s_pairs_are_twenty_of_each_kind_and_differ_in_one_place() -> None:
    rows = pq.read_table(EXAMPLE).to_pylist()
    kinds = [row["phenomenon"] for row in rows]
    assert {kinds.count(kind) for kind in kinds} == {20}
    assert len({row[side] for row in rows for side in ("sentence_good", "sentence_bad")}) == 2 * len(rows) == 240
    for row in rows:
        good, bad = row["sentence_good"].split(), row["sentence_bad"].split()
        assert len(good) == len(bad)
        assert sum(first != second for first, second in zip(good, bad, strict=True)) in (1, 2)


def test_pairs_of_a_directory_are_scored_as_those_of_one_file(source: Path, bundle: Path) -> None:
    whole = score_pairs_file(PairsJob(source, None, bundle, SCORING))
    parts = source.parent / "parts"
    parts.mkdir()
    for number in range(2):
        pq.write_table(pq.read_table(source).slice(20 * number, 20), parts / f"{number}.parquet")
    outcome = score_pairs_file(PairsJob(parts, None, bundle, SCORING))
    assert outcome.output == source.parent / "parts.pairs.parquet"
    assert pq.read_table(outcome.output).equals(pq.read_table(whole.output))
    with pytest.raises(OutputError, match="name one on this machine with -o"):
        score_pairs_file(PairsJob([source, parts], None, bundle, SCORING))
