"""Training: it learns, stops and goes on as if it had not stopped, whatever a batch is divided into."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from maskedge import Predictor
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.corpora.batches import Batches
from maskedge_export.corpora.masking import IGNORED
from maskedge_export.corpora.packing import prepare_corpus
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.errors import ResumeError, TrainingError
from maskedge_export.recipe import Recipe, ScheduleRecipe
from maskedge_export.recipe_file import load_recipe
from maskedge_export.training.trainer import LogEntry, TrainingOptions, TrainingResult, train

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[3] / "recipes"
RECIPE = """
[tokenizer]
vocab_size = 300
[corpus]
held_out = 0.1
[model]
hidden_size = 32
num_layers = 2
num_heads = 4
intermediate_size = 48
max_length = 32
[schedule]
steps = 24
warmup = 4
lengths = [16, 32]
length_shares = [0.5, 0.5]
[run]
batch_tokens = 512
precision = "fp32"
threads = 1
log_every = 4
evaluate_every = 12
save_every = 2
"""


@pytest.fixture(scope="module")
def recipe_file(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(RECIPE.replace("[corpus]", f'[corpus]\nfiles = ["{sentences}"]'), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    result = train(recipe, TrainingOptions(tmp_path_factory.mktemp("runs") / "undisturbed", cache=cache))
    assert result is not None
    return result


@pytest.fixture(scope="module")
def undivided(recipe: Recipe, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose rows have different numbers of masks, each batch in one part."""
    out = tmp_path_factory.mktemp("runs") / "undivided"
    train(uneven(recipe), TrainingOptions(out, cache=cache))
    return out


def uneven(recipe: Recipe) -> Recipe:
    return change(recipe, "masking", whole_word=True)


def parts_differ(recipe: Recipe, cache: Path, parts: int) -> bool:
    """Whether the parts of most batches have different numbers of masks."""
    batches = Batches(prepare_corpus(recipe, cache), recipe)
    masks = [np.split((batches.batch(step).targets != IGNORED).sum(1), parts) for step in range(24)]
    return sum(len({int(part.sum()) for part in batch}) > 1 for batch in masks) > 12


def change(recipe: Recipe, section: str, **options: Any) -> Recipe:
    return replace(recipe, **{section: replace(getattr(recipe, section), **options)})


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def largest_difference(out: Path, other: Path) -> float:
    first, second = (load_file(path / "model" / "model.safetensors") for path in (out, other))
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_a_run_learns_and_leaves_model_log_picture_and_checkpoints(undisturbed: TrainingResult) -> None:
    out = undisturbed.model.parent
    entries = log(out)
    assert [entry["step"] for entry in entries] == [4, 8, 12, 16, 20, 24]
    assert entries[-1]["loss"] < entries[0]["loss"] - 0.2
    assert entries[-1]["seconds_left"] == 0
    assert [entry["step"] for entry in entries if entry["held_out_perplexity"]] == [12, 24]
    assert undisturbed.held_out is not None
    assert undisturbed.held_out.perplexity == entries[-1]["held_out_perplexity"] < 300
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-00000022", "step-00000024"]
    assert load_checkpoint(str(undisturbed.model)).model_type == "modernbert"
    assert not list(out.rglob("*.bin")) + list(out.rglob("*.pt"))


def test_the_same_recipe_gives_the_same_weights(
    recipe: Recipe, cache: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    train(recipe, TrainingOptions(tmp_path / "again", cache=cache))
    assert weights(tmp_path / "again") == weights(undisturbed.model.parent)


def newest_checkpoint(out: Path) -> str:
    return max((path.name for path in out.glob("checkpoints/step-*")), default="")


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    recipe_file: Path, cache: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "maskedge_export", "train", str(recipe_file), "--out", str(out)]
    command += ["--cache", str(cache)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while newest_checkpoint(out) < "step-00000006" and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "model").exists()
    last = max((out / "checkpoints").glob("step-*"))
    assert load_checkpoint(str(last)).tokenizer.mask_token == "[MASK]"

    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert weights(out) == weights(undisturbed.model.parent)
    keys = ("step", "loss", "learning_rate", "held_out_perplexity")
    first, second = ([[entry[key] for key in keys] for entry in log(run)] for run in (out, undisturbed.model.parent))
    assert [entry[0] for entry in first] == [entry[0] for entry in second]
    assert first[-1][:3] == second[-1][:3]
    # The evaluation's fp32 products may round otherwise where another process has its arrays elsewhere in memory.
    assert first[-1][3] == pytest.approx(second[-1][3], rel=1e-6)


def test_accumulated_parts_give_the_same_as_the_whole_batch(
    recipe: Recipe, cache: Path, undivided: Path, tmp_path: Path
) -> None:
    parts = change(uneven(recipe), "run", micro_batches=4)
    assert parts_differ(parts, cache, 4)
    train(parts, TrainingOptions(tmp_path / "parts", cache=cache))
    assert largest_difference(tmp_path / "parts", undivided) < 0.02
    first, second = (log(run) for run in (tmp_path / "parts", undivided))
    assert [e["loss"] for e in first] == pytest.approx([e["loss"] for e in second], abs=1e-3)


def test_two_devices_give_the_same_as_one(
    recipe_file: Path, recipe: Recipe, cache: Path, undivided: Path, tmp_path: Path
) -> None:
    assert parts_differ(uneven(recipe), cache, 2)
    file = tmp_path / "two.toml"
    file.write_text(recipe_file.read_text().replace("[run]", "[masking]\nwhole_word = true\n[run]\ndevices = 2"))
    command = [sys.executable, "-m", "maskedge_export", "train", str(file), "--out", str(tmp_path / "two")]
    result = subprocess.run([*command, "--cache", str(cache)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in result.stderr
    assert result.stdout.count("held out") == 1
    first, second = (log(run) for run in (tmp_path / "two", undivided))
    assert [e["loss"] for e in first] == pytest.approx([e["loss"] for e in second], abs=1e-3)


def test_bf16_learns_the_same_within_its_rounding(
    recipe: Recipe, cache: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    train(change(recipe, "run", precision="bf16"), TrainingOptions(tmp_path / "bf16", cache=cache))
    first, second = (log(run) for run in (tmp_path / "bf16", undisturbed.model.parent))
    assert [e["loss"] for e in first] == pytest.approx([e["loss"] for e in second], abs=0.05)
    assert [e["loss"] for e in first] != [e["loss"] for e in second]


def test_a_run_is_not_overwritten_nor_resumed_as_another(
    recipe: Recipe, cache: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    out = undisturbed.model.parent
    with pytest.raises(ResumeError, match="holds a run already; go on with --resume"):
        train(recipe, TrainingOptions(out, cache=cache))
    with pytest.raises(ResumeError, match="holds no run to resume"):
        train(recipe, TrainingOptions(tmp_path / "none", resume=True, cache=cache))
    with pytest.raises(ResumeError, match=r"with another masking\.rate; choose another --out"):
        train(change(recipe, "masking", rate=0.2), TrainingOptions(out, resume=True, cache=cache))


def test_a_loss_that_is_no_number_stops_the_run(recipe: Recipe, cache: Path, tmp_path: Path) -> None:
    wild = change(recipe, "optimizer", name="adamw", learning_rate=1e30, clip=0.0)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(wild, TrainingOptions(tmp_path / "wild", cache=cache))


def test_a_run_that_diverges_keeps_its_good_checkpoints(
    recipe: Recipe, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(step: int, schedule: ScheduleRecipe) -> float:
        return 1e-3 if step < 4 else float("nan")

    monkeypatch.setattr("maskedge_export.training.trainer.learning_rate_factor", diverging)
    quiet = change(recipe, "run", log_every=24, evaluate_every=24)  # no line of the log comes before a checkpoint
    with pytest.raises(TrainingError, match="a weight is no number any more after 6 steps; lower the learning rate"):
        train(quiet, TrainingOptions(tmp_path / "run", cache=cache))
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step-00000002", "step-00000004"]
    for path in kept:
        assert all(weight.isfinite().all() for weight in load_checkpoint(str(path)).native().parameters())


def test_a_run_from_before_a_key_was_there_goes_on(
    recipe: Recipe, cache: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed.model.parent, tmp_path / "old")
    identity = json.loads((tmp_path / "old" / "run.json").read_text())
    del identity["recipe"]["corpus"]["configuration"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(identity))
    again = train(recipe, TrainingOptions(tmp_path / "old", resume=True, cache=cache))
    assert again is not None
    other = change(recipe, "corpus", configuration="x")
    with pytest.raises(ResumeError, match=r"with another corpus\.configuration"):
        train(other, TrainingOptions(tmp_path / "old", resume=True, cache=cache))


def test_one_sentence_is_learned_exported_quantized_and_filled(tmp_path: Path) -> None:
    entries: list[LogEntry] = []
    result = train(load_recipe(RECIPES / "one_sentence.toml"), TrainingOptions(tmp_path / "run", on_log=entries.append))
    assert result is not None
    assert entries[-1].accuracy == 1.0
    sentence = RECIPES / "one_sentence.txt"
    manifest = export_bundle(
        str(result.model), tmp_path / "bundle", ExportOptions(calibration=(sentence,), few_texts=True)
    )
    assert manifest.vocab_size == 16
    assert manifest.graphs["int8-avx2"].verification["text"] == "calibration text"
    assert "the few texts that it was calibrated on" in (tmp_path / "bundle" / "README.md").read_text()
    words = sentence.read_text(encoding="utf-8").split()
    texts = [" ".join([*words[:at], "[MASK]", *words[at + 1 :]]) for at in range(len(words))]
    predictor = Predictor.load(tmp_path / "bundle")
    best = [predictor(text, top_k=1)[0] for text in texts]
    assert [answer["token_str"] for answer in best] == words
    assert words[2] == "creates"
    assert best[2]["score"] >= 0.989
    assert min(answer["score"] for answer in best) > 0.98
