"""A column named "target" that nobody asked for: it holds targets where it can, and is none of the job's otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from maskedge_batch.cli.app import app
from maskedge_batch.runs.job import Job, Outcome, score_file

WriteInput = Callable[..., Path]


def statuses(outcome: Outcome) -> list[str]:
    return [str(status) for status in pq.read_table(outcome.output)["mlm_status"].to_pylist()]


LABELS: dict[str, Any] = {
    "integers": [0, 1],
    "a struct": [{"label": "a"}, None],
    "lists of integers": [[1], [2, 3]],
    "booleans": [True, False],
    "bytes": [b"a", b"b"],
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_column_of_no_words_is_passed_on_with_a_note(
    write_input: WriteInput, bundle: Path, words: list[str], kind: str
) -> None:
    path = write_input({"text": [f"{words[0]} [MASK]", words[1]], "target": LABELS[kind]})
    outcome = score_file(Job(path, model=bundle))
    assert statuses(outcome) == ["ok", "ok"]
    (note,) = outcome.notes
    assert (
        note == f"The column 'target' holds {pq.read_schema(path).field('target').type}, so it is not read as targets."
    )
    assert outcome.report.provenance.target_column is None
    assert pq.read_table(outcome.output)["target"].equals(pq.read_table(path)["target"])


def test_labels_beside_texts_without_masks_are_no_targets(
    write_input: WriteInput, bundle: Path, words: list[str]
) -> None:
    columns = {"text": words[:2], "target": ["positive", "negative"]}
    outcome = score_file(Job(write_input(columns), model=bundle))
    assert statuses(outcome) == ["ok", "ok"]
    assert outcome.report.rows_ok == 2
    assert outcome.notes == ("No text has a mask, so the column 'target' is not read as targets.",)


def test_a_label_beside_one_text_without_a_mask_is_no_target_either(
    write_input: WriteInput, bundle: Path, words: list[str]
) -> None:
    columns = {"text": [f"{words[0]} [MASK]", words[1]], "target": [words[2], "positive"]}
    outcome = score_file(Job(write_input(columns), model=bundle))
    assert statuses(outcome) == ["ok", "ok"]
    assert outcome.notes == ()
    assert outcome.report.masked is not None
    assert outcome.report.masked.overall is not None
    assert outcome.report.masked.overall.targets == 1


def test_targets_that_were_asked_for_belong_to_masks(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    """A mask that was lost on the way is told of."""
    columns = {"text": [f"{words[0]} [MASK]", words[1]], "target": [words[2], words[3]]}
    outcome = score_file(Job(write_input(columns), model=bundle, target_column="target"))
    assert statuses(outcome) == ["ok", "target_count_mismatch"]


@pytest.mark.parametrize(
    "column",
    [pa.nulls(2), pa.array([[None], None], pa.list_(pa.null())), pa.nulls(2, pa.string()), pa.array(["", None])],
    ids=["null", "lists of null", "null strings", "empty"],
)
@pytest.mark.parametrize("asked", [None, "target"])
def test_nothing_is_no_target(
    write_input: WriteInput, bundle: Path, words: list[str], column: Any, asked: str | None
) -> None:
    columns = {"text": [f"{words[0]} [MASK]", f"{words[1]} [MASK]"], "target": column}
    outcome = score_file(Job(write_input(columns), model=bundle, target_column=asked))
    assert statuses(outcome) == ["ok", "ok"]
    assert outcome.notes == ()


def test_targets_may_be_lists_of_one_length(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    targets = pa.array([words[:2], None], pa.list_(pa.string(), 2))
    outcome = score_file(Job(write_input({"text": [f"[MASK] {words[3]} [MASK]"] * 2, "target": targets}), model=bundle))
    assert statuses(outcome) == ["ok", "ok"]
    assert outcome.report.masked is not None
    assert outcome.report.masked.overall is not None
    assert outcome.report.masked.overall.targets == 2


def test_no_targets_leaves_every_column_alone(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    path = write_input({"text": [f"{words[0]} [MASK]"] * 2, "target": ["日", words[1]]})
    outcome = score_file(Job(path, model=bundle, targets=False))
    assert statuses(outcome) == ["ok", "ok"]
    assert outcome.notes == ()
    assert outcome.report.masked is not None
    assert outcome.report.masked.overall is None
    assert outcome.report.provenance.target_column is None


def test_words_that_are_no_targets_are_told_of(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    path = write_input({"text": [f"{words[0]} [MASK]"] * 2, "target": ["日 1", "日 2"]})
    outcome = score_file(Job(path, model=bundle))
    assert statuses(outcome) == ["target_not_in_vocabulary"] * 2
    assert outcome.notes == ("The column 'target' holds no target that could be rated: --no-targets leaves it alone.",)


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def test_the_command_says_its_notes_on_standard_error(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    path = write_input({"text": [words[0]], "target": [1]})
    shown = command(path, "--model", bundle)
    assert shown.exit_code == 0
    assert shown.stderr.count("Note: The column 'target' holds int64, so it is not read as targets.") == 1
    quiet = command(path, "--model", bundle, "--no-targets", "--overwrite")
    assert quiet.exit_code == 0
    assert "Note" not in quiet.stderr


def test_a_target_column_and_none_are_not_both_asked_for(write_input: WriteInput, bundle: Path) -> None:
    refused = command(write_input({"text": ["a"]}), "--model", bundle, "--no-targets", "--target-column", "target")
    assert refused.exit_code == 2
    assert "--no-targets" in refused.stderr
