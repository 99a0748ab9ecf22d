"""Input that is not what it should be, and models that answer oddly: a line says so, and the next text is answered."""

import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered_bundles import ban_tokens, break_position, without_unknown

from maskedge import Predictor

pytestmark = pytest.mark.slow

RunMlm = Callable[..., "subprocess.CompletedProcess[str]"]
Parse = Callable[[str], list[dict[str, Any]]]

GOOD = "the water."


# Encodings


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_line_that_is_not_utf8_is_named_with_its_byte(run_mlm: RunMlm, parse: Parse, encoding: str) -> None:
    ran = run_mlm("score", "-", "--json", stdin=f"{GOOD}\r\nle café\n{GOOD}\n".encode(encoding))
    first, bad, last = parse(ran.stdout)
    assert (first["status"], bad["status"], last["status"]) == ("ok", "invalid_unicode", "ok")
    assert first["pll"] == last["pll"]
    assert bad["text"] == "le caf\ufffd"
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "line 2 is not UTF-8 (byte 0xe9); convert the text with iconv" in line


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_wide_text_is_not_scored_as_zeros_and_letters(run_mlm: RunMlm, parse: Parse, encoding: str) -> None:
    ran = run_mlm("score", "-", "--json", stdin=f"{GOOD}\n{GOOD}\n".encode(encoding))
    assert {answer["status"] for answer in parse(ran.stdout)} == {"invalid_unicode"}
    assert "line 1 is not UTF-8 (byte 0x" in ran.stderr
    assert "as text in UTF-16 has" in ran.stderr


def test_a_mark_at_the_very_start_is_no_text(run_mlm: RunMlm, parse: Parse, predictor: Predictor) -> None:
    texts = [GOOD, "\ufeffthe water.", "the\u2028water\x0c."]
    ran = run_mlm("score", "-", "--json", "--precision", "fp32", stdin="\ufeff" + "\n".join(texts))
    answers = parse(ran.stdout)
    assert [answer["text"] for answer in answers] == texts
    assert [answer["pll"] for answer in answers] == [score.pll for score in predictor.score(texts)]
    assert run_mlm("explain", "-", stdin="\ufeffthe [MASK]\n").stdout.count("\ufeff") == 0


def test_the_terminals_encoding_says_nothing_of_standard_input(run_mlm: RunMlm, parse: Parse) -> None:
    text = "le café"
    ran = run_mlm("score", "-", "--json", stdin=text, PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert [answer["text"] for answer in parse(ran.stdout)] == [text]


def test_an_argument_that_is_not_utf8_is_named_with_its_byte(run_mlm: RunMlm, parse: Parse) -> None:
    ran = run_mlm("fill", b"caf\xe9 [MASK]".decode(errors="surrogateescape"), "the [MASK]", "--json")
    bad, good = parse(ran.stdout)
    assert (bad["status"], bad["text"], good["status"]) == ("invalid_unicode", "caf\ufffd [MASK]", "ok")
    assert "it holds the byte 0xe9, not in UTF-8" in ran.stderr


def test_a_text_to_explain_that_is_not_utf8_is_refused(run_mlm: RunMlm) -> None:
    ran = run_mlm("explain", "-", stdin="the\ncafé [MASK]\n".encode("latin-1"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "line 2 is not UTF-8 (byte 0xe9)" in ran.stderr


def test_the_prompt_goes_on_after_a_line_that_is_not_utf8(run_mlm: RunMlm) -> None:
    ran = run_mlm(stdin="\ufeffthe [MASK]\n".encode() + "café [MASK]\n".encode("latin-1") + b":topk 2\nthe [MASK]\n")
    assert ran.returncode == 1
    assert "line 2 is not UTF-8 (byte 0xe9)" in ran.stderr
    assert ran.stdout.count("entropy") == 2
    assert "\ufeff" not in ran.stdout


# A tokenizer that stops at what its vocabulary lacks


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_unknown(tmp_path_factory.mktemp("wordless") / "bundle")


@pytest.mark.parametrize("command", ["fill", "score"])
def test_the_next_line_is_answered(run_mlm: RunMlm, parse: Parse, wordless: Path, command: str) -> None:
    mask = " <mask>" if command == "fill" else ""
    lines = [f"the cat{mask}", f"the 🙂{mask}", f"the cats{mask}"]
    ran = run_mlm(command, "-", "--json", "--model", wordless, stdin="\n".join(lines))
    answers = parse(ran.stdout)
    assert [answer["status"] for answer in answers] == ["ok", "untokenizable", "ok"]
    assert [answer["text"] for answer in answers] == lines
    assert len(ran.stderr.splitlines()) == 1
    assert "text 2: the tokenizer cannot write the text" in ran.stderr
    assert ran.returncode == 1


def test_a_text_to_explain_or_a_word_of_it_may_not_be_written(run_mlm: RunMlm, wordless: Path) -> None:
    ran = run_mlm("explain", "the 🙂 <mask>", "--model", wordless)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "the tokenizer cannot write the text" in ran.stderr
    ran = run_mlm("explain", "the 🙂", "--word", "🙂", "--model", wordless)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr


def test_the_prompt_goes_on_after_what_cannot_be_written(run_mlm: RunMlm, wordless: Path) -> None:
    ran = run_mlm("--model", wordless, stdin="the 🙂 <mask>\n🙂\nthe <mask>\n")
    assert ran.stdout.count("entropy") == 1
    assert ran.stderr.count("the tokenizer cannot write the text") == 2


# Figures that are not finite


def test_what_is_ruled_out_is_shown_and_is_null_in_json(
    run_mlm: RunMlm, parse: Parse, predictor: Predictor, tmp_path: Path
) -> None:
    token = predictor.encoder.token_id("water")
    assert token is not None
    banning = ban_tokens(tmp_path / "bundle", token)
    shown = run_mlm("score", "the water", "--model", banning)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "-inf nats" in shown.stdout
    (answer,) = parse(run_mlm("score", "the water", "--json", "--model", banning).stdout)
    assert answer["pll"] is answer["pseudo_perplexity"] is answer["bits_per_character"] is None
    filled = run_mlm("fill", "the [MASK]", "-k", "400", "--model", banning)
    assert (filled.returncode, filled.stderr) == (0, "")
    assert "nan" not in filled.stdout
    explained = run_mlm("explain", "the water", "--word", "water", "--model", banning, "--image", tmp_path / "a.svg")
    assert explained.returncode == 0
    assert "rank 400" in explained.stdout
    (mask,) = Predictor.load(banning).fill(["the [MASK]"])[0].masks
    assert math.isfinite(mask.entropy)


def test_what_is_no_number_is_refused_and_the_next_line_answered(run_mlm: RunMlm, parse: Parse, tmp_path: Path) -> None:
    broken = break_position(tmp_path / "bundle", position=4)
    for command, line in (("fill", "the [MASK]"), ("score", "the water")):
        ran = run_mlm(command, "-", "--json", "--model", broken, stdin=f"{line}\nthe the {line}\n{line}\n")
        assert [answer["status"] for answer in parse(ran.stdout)] == ["ok", "not_a_number", "ok"]
        assert "text 2: the model's scores are no numbers (NaN)" in ran.stderr
        assert run_mlm(command, f"the the {line}", "--model", broken).returncode == 1
    assert "no numbers" in run_mlm("explain", "the the the [MASK]", "--model", broken).stderr
    assert run_mlm("verify", "--json", "--model", broken).returncode == 1
