"""`mlm-batch pairs` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app

WriteInput = Callable[..., Path]


@pytest.fixture
def source(write_input: WriteInput, words: list[str]) -> Path:
    good = [" ".join(words[i : i + 3]) for i in range(12)]
    bad = [*(" ".join(words[i + 1 : i + 5]) for i in range(11)), None]
    return write_input({"sentence_good": good, "sentence_bad": bad, "UID": [f"u{i % 6}" for i in range(12)]})


def pairs(bundle: Path | str, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["pairs", *map(str, arguments), "--model", str(bundle)])


def test_it_ends_with_the_accuracies(source: Path, bundle: Path, tmp_path: Path) -> None:
    ran = pairs(bundle, source, "--by", "UID")
    assert ran.exit_code == 0, ran.output
    said = json.loads((tmp_path / "sentences.pairs.json").read_text(encoding="utf-8"))
    assert "pairs scored 11 of 12" in " ".join(ran.stdout.split())
    assert f"accuracy {said['overall']['value']:.1%} (" in " ".join(ran.stdout.split())
    for name, group in said["grouped"][0]["groups"].items():
        assert f"{name} {group['value']:.1%} of {group['pairs']}" in " ".join(ran.stdout.split())


def test_pairs_that_are_set_aside_end_it_with_3_where_they_must_not_be(source: Path, bundle: Path) -> None:
    ran = pairs(bundle, source, "--strict", "--json")
    assert ran.exit_code == 3
    assert json.loads(ran.stdout)["set_aside"] == {"null_text": 1}


def test_columns_and_comparison_may_be_chosen(source: Path, bundle: Path, tmp_path: Path) -> None:
    chosen = ["--good", "sentence_bad", "--bad", "sentence_good", "--method", "original", "--normalize", "character"]
    straight, turned = (
        json.loads(pairs(bundle, source, "-o", tmp_path / "a.parquet", *arguments, "--json", "--overwrite").stdout)[
            "overall"
        ]
        for arguments in (chosen[4:], chosen)
    )
    assert straight["correct"] + straight["ties"] + turned["correct"] == 11


@pytest.mark.parametrize("arguments", [["--method", "typo"], ["--normalize", "typo"], ["--by", "typo"]])
def test_what_there_is_not_is_refused(arguments: list[str], source: Path, bundle: Path) -> None:
    ran = pairs(bundle, source, *arguments)
    assert ran.exit_code == 2
    assert "typo" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_model_of_the_hub_is_named_by_its_id_and_revision(source: Path, hub: list[tuple[str, str | None]]) -> None:
    ran = pairs("org/tiny", source, "--revision", "v2", "--precision", "fp32", "--json")
    assert ran.exit_code == 0, ran.output
    assert hub == [("org/tiny", "v2")]
    run = json.loads(ran.stdout)["run"]
    assert (run["model"], run["precision"]) == ("tiny", "fp32")


def test_a_revision_belongs_to_the_hub(source: Path, bundle: Path) -> None:
    ran = pairs(bundle, source, "--revision", "main")
    assert ran.exit_code == 2
    assert "name a model of the Hub with --model, or leave --revision out" in ran.stderr


def test_results_that_are_there_are_kept_unless_they_may_be_replaced(source: Path, bundle: Path) -> None:
    pairs(bundle, source)
    scored = source.with_name("sentences.pairs.parquet")
    before = {path: path.read_bytes() for path in source.parent.iterdir()}
    ran = pairs(source.parent / "no-bundle", source)
    expected = f"Error: {scored} exists already: --overwrite replaces it, or name another place with -o.\n"
    assert (ran.exit_code, ran.stderr) == (2, expected)
    assert {path: path.read_bytes() for path in source.parent.iterdir()} == before
    assert pairs(bundle, source, "--overwrite", "--normalize", "token").exit_code == 0
    assert scored.read_bytes() != before[scored]


def test_a_report_of_other_pairs_is_no_less_kept(source: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pairs.html").write_text("of other pairs")
    ran = pairs(bundle, source, "-o", tmp_path / "a.parquet")
    assert ran.exit_code == 2
    assert f"{tmp_path}/a.pairs.html exists already" in ran.stderr
    assert not (tmp_path / "a.parquet").exists()
