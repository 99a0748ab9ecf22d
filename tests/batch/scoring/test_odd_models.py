"""Models that say what is no number, or nothing at all, of some rows: these keep their place with a reason."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from altered_bundles import ban_tokens, break_position, without_unknown
from typer.testing import CliRunner

from maskedge import Predictor
from maskedge_batch.cli.app import app
from maskedge_batch.reports.histogram import Bin
from maskedge_batch.runs.job import Job, Outcome, score_file

WriteInput = Callable[..., Path]


def rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    return pq.read_table(outcome.output).to_pylist()


def strict_json(path: Path) -> Any:
    """What a reader takes that knows no NaN."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


# A tokenizer that stops at what its vocabulary lacks


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_unknown(tmp_path_factory.mktemp("wordless") / "bundle")


def test_a_text_that_the_tokenizer_cannot_write_is_set_aside(write_input: WriteInput, wordless: Path) -> None:
    texts = ["the <mask>", "the 🙂 <mask>", "the water", "🙂", "the [MASK] 日", "water <mask>"]
    outcome = score_file(Job(write_input({"text": texts}), model=wordless))
    assert [row["mlm_status"] for row in rows_of(outcome)] == [
        "ok", "untokenizable", "ok", "untokenizable", "untokenizable", "ok",
    ]  # fmt: skip
    assert outcome.report.set_aside == {"untokenizable": 3}
    assert "The tokenizer cannot write the text" in outcome.html.read_text()


def test_a_target_that_the_tokenizer_cannot_write_is_no_target(write_input: WriteInput, wordless: Path) -> None:
    columns = {"text": ["the <mask>"] * 3, "target": ["water", "🙂", "cat"]}
    rows = rows_of(score_file(Job(write_input(columns), model=wordless)))
    assert [row["mlm_status"] for row in rows] == ["ok", "target_not_in_vocabulary", "ok"]
    assert rows[1]["mlm_predictions"] == rows[0]["mlm_predictions"]


# A token that is ruled out


@pytest.fixture(scope="module")
def banned(words: list[str]) -> str:
    return words[3]


@pytest.fixture(scope="module")
def banning(banned: str, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the bias of one of its words at -infinity."""
    token = predictor.encoder.token_id(banned)
    assert token is not None
    return ban_tokens(tmp_path_factory.mktemp("banning") / "bundle", token)


@pytest.fixture
def outcome(write_input: WriteInput, banning: Path, banned: str, words: list[str]) -> Outcome:
    texts = [f"{words[0]} [MASK]", f"{words[1]} [MASK]", f"{words[0]} {banned}", f"{words[0]} {words[1]}"]
    return score_file(Job(write_input({"text": texts, "target": [banned, words[2], None, None]}), model=banning))


def test_what_is_ruled_out_has_an_infinite_perplexity(outcome: Outcome, words: list[str]) -> None:
    target, other, unmasked, plain = rows_of(outcome)
    assert [row["mlm_status"] for row in (target, other, unmasked, plain)] == ["ok"] * 4
    assert (target["mlm_target_logprob"], target["mlm_perplexity"]) == ([-math.inf], math.inf)
    assert (unmasked["mlm_pll"], unmasked["mlm_perplexity"]) == (-math.inf, math.inf)
    assert all(math.isfinite(row["mlm_perplexity"]) for row in (other, plain))


def test_entropy_is_that_of_what_is_left(outcome: Outcome, banning: Path, predictor: Predictor) -> None:
    """0 log 0 is 0: the sum over all tokens but that one."""
    row = rows_of(outcome)[0]
    model = Predictor.load(banning)
    (fill,) = model.fill([row["text"]], top_k=model.bundle.manifest.vocab_size)
    probabilities = [guess.score for guess in fill.masks[0].predictions if guess.score]
    assert len(probabilities) == 399
    expected = -math.fsum(p * math.log(p) for p in probabilities)
    assert row["mlm_entropy"] == [pytest.approx(expected, abs=1e-5)]


def test_its_report_says_infinite_in_every_form(outcome: Outcome) -> None:
    masked, unmasked = outcome.report.masked, outcome.report.unmasked
    assert masked is not None
    assert unmasked is not None
    assert masked.overall is not None
    assert masked.overall.cross_entropy.value == masked.overall.perplexity.value == math.inf
    assert unmasked.overall.pseudo_perplexity.value == -unmasked.overall.pll == math.inf
    assert math.isfinite(masked.mean_entropy.value)
    for metrics in (masked, unmasked):
        assert metrics.spread is not None
        assert metrics.spread.histogram[-1] == Bin(1e12, math.inf, 1)
        assert sum(one.rows for one in metrics.spread.histogram) == 2
        assert metrics.spread.hardest[0].perplexity == math.inf
    read = strict_json(outcome.json)
    assert read["masked"]["overall"]["perplexity"]["value"] is read["unmasked"]["overall"]["pll"] is None
    assert read["masked"]["spread"]["histogram"][-1]["high"] is None
    assert read["masked"]["overall"]["targets"] == 2
    assert "| masked perplexity, per target word | ∞ |" in outcome.markdown.read_text()
    assert "Beyond it lies the masked perplexity of all of them, ∞" in outcome.html.read_text()


def test_the_command_shows_it(write_input: WriteInput, banning: Path, banned: str) -> None:
    path = write_input({"text": [banned, "[MASK]"], "target": [None, banned]})
    shown = CliRunner().invoke(app, ["score", str(path), "--model", str(banning)])
    assert shown.exit_code == 0, shown.output
    assert "\N{INFINITY} over 1 target" in shown.output


# Sums that are no numbers


def test_a_row_of_which_the_model_says_no_number_keeps_its_place(
    write_input: WriteInput, tmp_path: Path, bundle: Path, words: list[str]
) -> None:
    broken = break_position(tmp_path / "broken", position=6)
    short, long = " ".join(words[:3]), " ".join(words[:8])
    texts = [f"{short} [MASK]", f"{long} [MASK]", short, long, f"{short} [MASK]"]
    targets = [words[1], words[1], None, None, words[1]]
    outcome = score_file(Job(write_input({"text": texts, "target": targets}), model=broken))
    rows = rows_of(outcome)
    assert [row["mlm_status"] for row in rows] == ["ok", "not_a_number", "ok", "not_a_number", "ok"]
    for row in (rows[1], rows[3]):
        assert {name for name, value in row.items() if value is not None} <= {"text", "target", "mlm_status"}
    (sound,) = Predictor.load(bundle, precision="fp32").fill([texts[0]])
    assert rows[0]["mlm_entropy"] == rows[4]["mlm_entropy"] == [sound.masks[0].entropy]
    assert outcome.report.set_aside == {"not_a_number": 2}
    assert strict_json(outcome.json)["rows_ok"] == 3
