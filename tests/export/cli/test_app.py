"""`mlm-export`: what it prints, where, and with which exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskedge.bundle.cpu import features_of
from maskedge.bundle.format import Bundle
from maskedge.bundle.golden_vectors import choose_precision
from maskedge_export.cli.app import app

pytestmark = pytest.mark.slow

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def mlm_export(tmp_path: Path) -> RunCli:
    """Runs the command in an empty directory."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "maskedge_export", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert "Traceback" not in result.stderr
        return result

    return run


def test_bundle_shows_its_steps_and_the_proof(
    mlm_export: RunCli, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    result = mlm_export("bundle", checkpoints("bert"), "--out", "out", "--precision", "fp32", "--name", "mine")
    assert result.returncode == 0
    verification = Bundle.open(tmp_path / "out").manifest.graphs["fp32"].verification
    assert "fp32 / PyTorch" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["Masked", "tokens", str(verification["cells"])] in rows
    assert ["Perplexity", "-"] in rows  # of random tokens, since no text was given
    assert "out: mine, 0." in result.stdout
    assert [line.split(" ", 1)[0] for line in result.stderr.splitlines()] == ["✓"] * 5
    assert "Comparing fp32 with PyTorch" in result.stderr
    assert "was chosen" not in result.stdout


def test_a_bundle_of_no_named_precision_is_right_on_every_cpu_and_says_so(
    make_checkpoint: Callable[..., Path], few_sentences: Path, tmp_path: Path
) -> None:
    source = make_checkpoint("distilbert", tmp_path / "tiny", n_layers=1)
    out, options = tmp_path / "out", ["--calibration", str(few_sentences), "--no-gate", "--standard"]
    result = CliRunner().invoke(app, ["bundle", str(source), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == (
        "int8-avx2 was chosen, as no --precision was given: weights of 7 bits are right on every CPU; "
        "sums with those of int8 saturate on x86 without VNNI"
    )
    manifest = Bundle.open(out).manifest
    assert {name: (entry.file, entry.verification["reference"]) for name, entry in manifest.standard.items()} == {
        "fp32": ("onnx/model.onnx", "PyTorch"),
        "int8-avx2": ("onnx/model_quantized.onnx", "onnx/model.onnx"),
    }
    assert list(manifest.graphs) == ["int8-avx2"]
    assert choose_precision(manifest.graphs, None, features_of("x86_64", ["avx2"])) is None  # the first, unwarned of


def test_an_error_is_one_line_that_says_what_to_do(
    mlm_export: RunCli, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    result = mlm_export("bundle", checkpoints("bert"), "--out", "out")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: int8-avx2 needs text to calibrate on: give --calibration FILE (text, JSONL or Parquet), "
        "or export --precision fp32\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["bundle"], "checkpoint"),
        (["bundle", "checkpoint"], "--out"),
        (["bundle", "checkpoint", "--out", "out", "--min-top1", "95"], "--min-top1"),
        (["verify", "bundle", "checkpoint", "--text", "x", "--min-pairs", "-0.1"], "--min-pairs"),
        (["bundle", "checkpoint", "--out", "out", "--max-difference", "-1"], "--max-difference"),
    ],
)
def test_wrong_usage_exits_2_and_is_named(mlm_export: RunCli, arguments: list[str], named: str) -> None:
    result = mlm_export(*arguments)
    assert result.returncode == 2
    assert named in result.stderr


def test_compare_of_bundles_of_one_checkpoint(
    mlm_export: RunCli, int8_bundles: Callable[[str], Path], sentences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # no line is folded
    bundle = int8_bundles("bert")
    result = mlm_export("compare", bundle, bundle, "--text", sentences)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert ["int8", "fp32"] in [line.split() for line in lines]
    rows = {line[:30].strip(): line[30:].split() for line in lines}
    assert rows["Mean KL divergence"] == ["0", "(0", "to", "0)"] * 2
    assert rows["Same best token"] == ["100.0%", "(100.0%", "to", "100.0%)"] * 2
    assert rows["Change of perplexity"] == ["+0.00%", "(+0.00%", "to", "+0.00%)"] * 2
    assert all(int(cells.replace(",", "")) > 900 for cells in rows["Masked tokens"])
    assert "Both come from the same checkpoint." in result.stdout


def test_compare_of_bundles_of_different_checkpoints_exits_1(
    mlm_export: RunCli, int8_bundles: Callable[[str], Path], sentences: Path
) -> None:
    result = mlm_export("compare", int8_bundles("modernbert"), int8_bundles("bert"), "--text", sentences)
    assert result.returncode == 1
    assert "different checkpoints" in result.stderr
    assert "int8" in result.stdout


def test_compare_with_what_is_no_bundle(mlm_export: RunCli, sentences: Path) -> None:
    result = mlm_export("compare", "nowhere", "nowhere", "--text", sentences)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: no bundle at nowhere")
    assert len(result.stderr.splitlines()) == 1


def test_train_takes_text_that_is_given_instead_of_the_recipe_s(mlm_export: RunCli, tmp_path: Path) -> None:
    for name, text in (("a.txt", "One two three.\n"), ("b.txt", "Three two one.\n")):
        (tmp_path / name).write_text(text * 30)
    (tmp_path / "tiny.toml").write_text(
        '[tokenizer]\nkind = "word"\nvocab_size = 7\n[corpus]\nfiles = ["missing.txt"]\nheld_out = 0\n'
        "[model]\nhidden_size = 16\nnum_layers = 1\nnum_heads = 2\nintermediate_size = 16\nmax_length = 8\n"
        "[schedule]\nsteps = 3\nwarmup = 1\nlengths = [8]\n[run]\nbatch_tokens = 64\nlog_every = 1\n"
    )
    result = mlm_export("train", "tiny.toml", "--text", "[ab].txt", "--out", "run")
    assert result.returncode == 0, result.stderr
    *table, model = result.stdout.splitlines()
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert ["training", f"{last['loss']:.4f}", f"{last['accuracy']:.1%}"] in [line.split() for line in table]
    assert model == "run/model"
    assert "step 3 of 3   loss " in result.stderr
    assert "tokens/s   0:00:00 left" in result.stderr
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3


def test_train_starts_from_the_encoder_that_is_given_instead_of_the_recipe_s(
    mlm_export: RunCli, checkpoints: Callable[[str], Path], sentences: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(
        '[corpus]\nheld_out = 0\n[model]\nstart = "missing"\n[schedule]\nsteps = 1\nwarmup = 0\nlengths = [8]\n'
        "[run]\nbatch_tokens = 64\n"
    )
    start = checkpoints("bert")
    result = mlm_export("train", "tiny.toml", "--start", start, "--text", sentences, "--out", "run")
    assert result.returncode == 0, result.stderr
    assert f"From `{start.name}`, 1 steps" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_train_with_a_misspelt_key_is_one_line_that_names_it(mlm_export: RunCli, tmp_path: Path) -> None:
    (tmp_path / "typo.toml").write_text("[schedule]\nstep = 3\n")
    result = mlm_export("train", "typo.toml", "--out", "run")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("Error: recipe typo.toml: unknown key in [schedule]: 'step'; did you mean 'steps'?\n")
    assert not (tmp_path / "run").exists()


def test_adapt_shows_what_was_gained(
    mlm_export: RunCli, checkpoints: Callable[[str], Path], sentences: Path, tmp_path: Path
) -> None:
    (tmp_path / "gentle.toml").write_text(
        "[corpus]\nheld_out = 0.4\n[optimizer]\nname = 'adamw'\nlearning_rate = 2e-3\n"
        "[run]\nbatch_tokens = 768\nthreads = 1\nlog_every = 5\n"
    )
    source = checkpoints("bert")
    command = ["adapt", source, "--text", sentences, "--out", "run", "--recipe", "gentle.toml", "--steps", "20"]
    result = mlm_export(*command)
    assert result.returncode == 0, result.stderr
    assert "step 20 of 20   loss " in result.stderr
    (row,) = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["all"]]
    _, words, before, after, ratio, *_ = row
    assert int(words) >= 100
    assert float(after.replace(",", "")) < float(before.replace(",", ""))
    assert float(ratio) < 1
    assert "run/model\nrun/adaptation.md\n" in result.stdout
    again = mlm_export(*command)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("Error: run holds a run already; go on with --resume")
