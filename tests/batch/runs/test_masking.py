"""A masked set from file to file: complete or absent, all columns kept, and what scoring it reads."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge import Predictor
from maskedge_batch.errors import InputError, OutputError, StoppedError
from maskedge_batch.evaluation.candidates import Choice
from maskedge_batch.evaluation.masking import Masking
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.masking import MaskJob, mask_file
from maskedge_batch.runs.stopping import StopRequest

WriteInput = Callable[..., Path]
STRATEGIES = [Masking(strategy="one"), Masking(strategy="rate", rate=0.4), Masking(strategy="each")]


@pytest.fixture
def texts(words: list[str]) -> list[str]:
    """Sentences of words that are one token of the tiny model."""
    return [
        " ".join(words[(i * 5 + place * (2 + i % 7)) % len(words)] for place in range(4 + i % 6)) for i in range(60)
    ]


@pytest.mark.parametrize("masking", STRATEGIES, ids=lambda masking: masking.strategy)
def test_scoring_a_masked_file_rates_every_target_at_its_mask(
    masking: Masking, texts: list[str], write_input: WriteInput, tmp_path: Path, bundle: Path, predictor: Predictor
) -> None:
    masked = mask_file(MaskJob(write_input({"text": texts}), tmp_path / "masked.parquet", masking))
    scored = score_file(Job(masked.output, tmp_path / "scored.parquet", bundle))
    assert scored.report.rows_ok == scored.report.rows == masked.rows
    rows = pq.read_table(scored.output).to_pylist()
    for row in rows:
        targets = row["target"] if isinstance(row["target"], list) else [row["target"]]
        assert len(row["mlm_target_logprob"]) == len(targets)
        assert None not in row["mlm_target_logprob"]
        fill = predictor.fill([row["text"]], targets=[[target] for target in targets])[0]
        assert row["mlm_target_logprob"] == [mask.targets[0].logprob for mask in fill.masks]
        text = row["text"]
        for target in targets:
            text = text.replace("[MASK]", target, 1)
        assert text == texts[row["source_row"]]


def test_all_columns_are_kept_with_what_the_file_says_of_itself(write_input: WriteInput, tmp_path: Path) -> None:
    when = datetime(2020, 1, 2, tzinfo=UTC)
    table = pa.table(
        {
            "text": ["the old town of it", "two"],
            "tags": pa.array([["a"], None], pa.list_(pa.string())),
            "when": pa.array([when, when], pa.timestamp("ns", "UTC")),
        },
        metadata={"owner": "somebody"},
    )
    outcome = mask_file(MaskJob(write_input(table), tmp_path / "masked.parquet", Masking(seed=3)))
    masked = pq.read_table(outcome.output)
    assert (outcome.texts, outcome.masked, outcome.rows, outcome.set_aside) == (2, 1, 1, {"too_short": 1})
    assert masked.schema.names == ["text", "tags", "when", "target", "source_row"]
    assert masked.select(["tags", "when"]) == table.slice(0, 1).select(["tags", "when"])
    metadata = masked.schema.metadata or {}
    assert metadata[b"owner"] == b"somebody"
    assert json.loads(metadata[b"maskedge_masking"])["seed"] == 3


def test_the_same_file_comes_out_whatever_the_row_groups(
    texts: list[str], write_input: WriteInput, tmp_path: Path
) -> None:
    outputs = []
    for size in (7, 1_000):
        source = write_input({"text": texts}, f"groups{size}", row_group_size=size)
        outputs.append(mask_file(MaskJob(source, tmp_path / f"{size}.parquet", STRATEGIES[2])).output.read_bytes())
    assert outputs[0] == outputs[1]


def test_lines_of_text_are_rows(tmp_path: Path) -> None:
    source = tmp_path / "lines.txt"
    source.write_bytes(b"\xef\xbb\xbfthe old town of it\r\n\n\xff\xfe of no use here\nhere is a line without an end")
    outcome = mask_file(MaskJob(source, tmp_path / "masked.parquet"))
    masked = pq.read_table(outcome.output).to_pylist()
    restored = [row["text"].replace("[MASK]", row["target"]) for row in masked]
    assert restored == ["the old town of it", "here is a line without an end"]
    assert [row["source_row"] for row in masked] == [0, 3]
    assert outcome.set_aside == {"too_short": 1, "invalid_unicode": 1}


def test_fields_of_json_lines_are_columns(tmp_path: Path) -> None:
    source = tmp_path / "lines.jsonl"
    objects: list[dict[str, Any]] = [{"s": "the old town of it", "n": 1}, {"s": "it is an old town", "more": ["a"]}]
    source.write_text("".join(f"{json.dumps(one)}\n" for one in objects), encoding="utf-8")
    outcome = mask_file(MaskJob(source, tmp_path / "masked.parquet", Masking("s")))
    masked = pq.read_table(outcome.output).to_pylist()
    assert [(row["n"], row["more"]) for row in masked] == [(1, None), (None, ["a"])]
    assert [row["s"].replace("[MASK]", row["target"]) for row in masked] == [one["s"] for one in objects]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"text": "a"}\n[1]\n', "line 2 is no JSON object"),
        (b'{"text": \n', "line 1: "),
        (b'{"text": "a"}\n{"text": 1}\n', "different types"),
    ],
)
def test_json_lines_that_are_none_are_named(content: bytes, why: str, tmp_path: Path) -> None:
    source = tmp_path / "lines.jsonl"
    source.write_bytes(content)
    with pytest.raises(InputError, match=why):
        mask_file(MaskJob(source, tmp_path / "masked.parquet"))
    assert not (tmp_path / "masked.parquet").exists()


def test_a_text_in_utf_16_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "lines.txt"
    source.write_bytes("the old town of it\n".encode("utf-16"))
    with pytest.raises(InputError, match="as text in UTF-16 has"):
        mask_file(MaskJob(source, tmp_path / "masked.parquet"))


def test_no_rows_make_a_file_without_rows(write_input: WriteInput, tmp_path: Path) -> None:
    source = write_input(pa.table({"text": pa.array([], pa.string())}))
    outcome = mask_file(MaskJob(source, tmp_path / "masked.parquet"))
    assert outcome.rows == 0
    assert pq.read_schema(outcome.output).names == ["text", "target", "source_row"]


def test_the_input_is_not_overwritten(write_input: WriteInput) -> None:
    source = write_input({"text": ["the old town of it"]})
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the input itself"):
        mask_file(MaskJob(source, source))
    assert source.read_bytes() == before


def test_a_stopped_job_leaves_nothing(write_input: WriteInput, tmp_path: Path) -> None:
    source = write_input({"text": ["the old town of it"] * 10})
    stop = StopRequest()
    with pytest.raises(StoppedError):
        mask_file(MaskJob(source, tmp_path / "masked.parquet"), lambda done, total: stop.ask(), stop)
    assert {path.name for path in tmp_path.iterdir()} == {source.name}


def test_progress_reaches_the_end_where_nothing_is_masked(write_input: WriteInput, tmp_path: Path) -> None:
    source = write_input({"text": ["no"] * 10})
    told: list[tuple[int, int]] = []
    mask_file(MaskJob(source, tmp_path / "masked.parquet"), lambda done, total: told.append((done, total)))
    assert told == [(0, 10), (10, 10)]


def test_only_words_of_a_list_are_masked(write_input: WriteInput, tmp_path: Path) -> None:
    source = write_input({"text": ["the old town of it", "a new town is here", "no such word in here"]})
    masking = Masking(choice=Choice(frozenset({"town"})))
    outcome = mask_file(MaskJob(source, tmp_path / "masked.parquet", masking))
    assert pq.read_table(outcome.output)["target"].to_pylist() == ["town", "town"]
    assert outcome.set_aside == {"no_candidate": 1}


def test_an_input_is_files_directories_globs_or_standard_input(texts: list[str], tmp_path: Path) -> None:
    for year, part in (("2023", texts[:25]), ("2024", texts[25:])):
        (tmp_path / "hive" / f"year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"text": part}), tmp_path / "hive" / f"year={year}" / "a.parquet")
    lines = "".join(
        json.dumps({"text": text, "year": 2023 if number < 25 else 2024}) + "\n" for number, text in enumerate(texts)
    )
    asked: list[Any] = [tmp_path / "hive", str(tmp_path / "hive" / "*" / "*.parquet"), ["-"]]
    asked.append([tmp_path / "hive" / "year=2023", tmp_path / "hive" / "year=2024"])
    masked = []
    for number, source in enumerate(asked):
        outcome = mask_file(MaskJob(source, tmp_path / f"{number}.parquet"), standard_input=io.BytesIO(lines.encode()))
        masked.append(pq.read_table(outcome.output, columns=["text", "target", "source_row"]).to_pylist())
    assert len(masked[0]) == len(texts)
    assert masked[0] == masked[1] == masked[2] == masked[3]
    assert set(pq.read_table(tmp_path / "0.parquet")["year"].to_pylist()) == {2023, 2024}


def test_a_store_is_no_place_for_a_masked_file(write_input: WriteInput, texts: list[str]) -> None:
    with pytest.raises(OutputError, match=r"s3://bucket/x.parquet is not on this machine"):
        mask_file(MaskJob(write_input({"text": texts}), "s3://bucket/x.parquet"))


def test_a_file_of_a_directory_is_not_masked_into_itself(write_input: WriteInput, texts: list[str]) -> None:
    source = write_input({"text": texts})
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the input itself"):
        mask_file(MaskJob(source.parent, source))
    assert source.read_bytes() == before
