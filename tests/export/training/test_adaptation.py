"""Adaptation: it goes on from the checkpoint, and its report says what the same held-out words gained."""

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.errors import CheckpointError, CorpusError, RecipeError, ResumeError
from maskedge_export.evaluation.bootstrap import Estimate
from maskedge_export.evaluation.whole_words import MaskedWord, masked_words, word_losses
from maskedge_export.recipe import CorpusRecipe, MaskingRecipe, OptimizerRecipe, Recipe, RunRecipe, ScheduleRecipe
from maskedge_export.training.adaptation import Adaptation, adapt, adaptation_recipe, load_adaptation_recipe
from maskedge_export.training.adaptation_report import write_report
from maskedge_export.training.before_after import BeforeAfter, WordCounts, WordGroup, compare_words, count_words_of
from maskedge_export.training.trainer import TrainingOptions

pytestmark = pytest.mark.slow

STEPS = 30


@pytest.fixture(scope="module")
def recipe(sentences: Path) -> Recipe:
    return Recipe(
        corpus=CorpusRecipe(files=(str(sentences),), held_out=0.4),
        masking=MaskingRecipe(rate=0.2),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=2e-3),
        schedule=ScheduleRecipe(steps=1000, warmup=2, lengths=(128,)),
        run=RunRecipe(batch_tokens=768, precision="fp32", threads=1, log_every=10, save_every=10),
    )


@pytest.fixture(scope="module")
def source(checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints("bert")


@pytest.fixture(scope="module")
def adapted(source: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Adaptation:
    out = tmp_path_factory.mktemp("adapted") / "run"
    result = adapt(str(source), recipe, TrainingOptions(out), steps=STEPS)
    assert result is not None
    return result


def test_held_out_words_are_predicted_better_than_before(adapted: Adaptation) -> None:
    overall = adapted.before_after.overall
    assert overall.words >= 100
    assert overall.after < overall.before
    assert overall.ratio.low < overall.ratio.value == pytest.approx(overall.after / overall.before)
    assert overall.ratio.high < 1
    for groups in (adapted.before_after.by_frequency, adapted.before_after.by_pieces):
        assert sum(group.words for group in groups) == overall.words


def test_before_is_the_source_and_after_the_new_model_on_the_same_words(
    adapted: Adaptation, source: Path, recipe: Recipe
) -> None:
    import pyarrow.parquet as pq

    (held_out,) = adapted.model.parent.glob("corpus/*/held_out.parquet")
    texts: list[Any] = pq.read_table(held_out)["text"].to_pylist()
    for path, perplexity in (
        (source, adapted.before_after.overall.before),
        (adapted.model, adapted.before_after.overall.after),
    ):
        checkpoint = load_checkpoint(str(path))
        encoder = checkpoint.text_encoder
        assert isinstance(checkpoint.encoder, Encoder)
        losses = word_losses(checkpoint.encoder, masked_words(texts, encoder), encoder.mask_id)
        assert np.exp(losses.mean()) == pytest.approx(perplexity, rel=1e-9)


def test_the_tokenizer_and_the_size_are_the_source_s(adapted: Adaptation, source: Path) -> None:
    before, after = (load_checkpoint(str(path)) for path in (source, adapted.model))
    assert after.encoder.config == before.encoder.config
    assert after.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    assert after.max_length == before.max_length


def test_the_report_has_all_figures(adapted: Adaptation) -> None:
    out = adapted.model.parent
    figures = json.loads((out / "adaptation.json").read_text())
    assert figures["overall"]["after"] == adapted.before_after.overall.after
    page = (out / "adaptation.md").read_text()
    assert f"| all | {adapted.before_after.overall.words:,} | {adapted.before_after.overall.before:,.1f} |" in page
    assert f"| {adapted.before_after.gained_most[0].group} |" in page
    assert (out / "adaptation.png").read_bytes().startswith(b"\x89PNG")


def test_steps_follow_from_the_text(source: Path, recipe: Recipe, adapted: Adaptation, tmp_path: Path) -> None:
    cache = adapted.model.parent / "corpus"
    meta = json.loads(next(cache.glob("*/meta.json")).read_text())
    steps: list[int] = []
    adapt(
        str(source),
        recipe,
        TrainingOptions(tmp_path / "run", cache=cache, on_log=lambda entry: steps.append(entry.steps)),
    )
    assert set(steps) == {3 * (meta["tokens"] // 768)}


def test_an_adaptation_is_not_overwritten(adapted: Adaptation, source: Path, recipe: Recipe) -> None:
    with pytest.raises(ResumeError, match="holds a run already"):
        adapt(str(source), recipe, TrainingOptions(adapted.model.parent), steps=STEPS)


def test_two_devices_report_once(source: Path, sentences: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(
        "[corpus]\nheld_out = 0.4\n[run]\nbatch_tokens = 768\nthreads = 1\ndevices = 2\nprecision = 'fp32'\n"
    )
    command = [sys.executable, "-m", "maskedge_export", "adapt", str(source), "--text", str(sentences)]
    command += ["--recipe", str(tmp_path / "two.toml"), "--out", str(tmp_path / "run"), "--steps", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in result.stderr
    assert result.stdout.count("adaptation.md") == 1
    assert (tmp_path / "run" / "adaptation.md").is_file()


def test_an_untied_head_stays_untied(make_checkpoint: Callable[..., Path], recipe: Recipe, tmp_path: Path) -> None:
    source = make_checkpoint("bert", tmp_path / "untied", tie_word_embeddings=False)
    result = adapt(str(source), recipe, TrainingOptions(tmp_path / "run"), steps=2)
    assert result is not None
    encoder = load_checkpoint(str(result.model)).encoder
    head, table = (encoder.get_parameter(name) for name in ("head.decoder.weight", "embedding.tokens.weight"))
    assert not torch.equal(head, table)


def test_too_little_text_is_refused(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("One sentence.\nAnd another one.\n" * 40)
    few = Recipe(corpus=CorpusRecipe(files=(str(tmp_path / "few.txt"),), held_out=0.5), schedule=recipe.schedule)
    with pytest.raises(CorpusError, match=r"at least 100 are needed: give more text, or raise corpus\.held_out"):
        adapt(str(source), few, TrainingOptions(tmp_path / "run"))


def test_a_checkpoint_without_a_trained_head_is_refused(
    make_model: Callable[..., object], source: Path, recipe: Recipe, tmp_path: Path
) -> None:
    headless = tmp_path / "headless"
    model = make_model("bert")
    model.bert.save_pretrained(headless)  # type: ignore[attr-defined]
    for file in source.glob("tokenizer*"):
        (headless / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights of a masked language model"):
        adapt(str(headless), recipe, TrainingOptions(tmp_path / "run"))


def masked_word(word: str, pieces: int = 1) -> MaskedWord:
    return MaskedWord(word, 0, len(word), tuple(range(pieces)), range(pieces))


def test_words_are_grouped_by_frequency_and_pieces_and_ordered_by_gain() -> None:
    words = [
        masked_word("the"),
        masked_word("The"),
        masked_word("whale", 2),
        masked_word("harpoon", 5),
        masked_word("sea"),
    ]
    before, after = np.array([1.0, 1.0, 5.0, 6.0, 2.0]), np.array([0.5, 0.5, 2.0, 6.5, 2.0])
    counts = WordCounts(Counter(the=5000, whale=50, sea=1), 1_000_000)
    found: BeforeAfter = compare_words(words, before, after, counts)
    assert [(group.group, group.words) for group in found.by_frequency] == [
        ("1,000 in a million or more", 2),
        ("10 to 100", 1),
        ("1 to 10", 1),
        ("never seen", 1),
    ]
    assert [(group.group, group.words) for group in found.by_pieces] == [
        ("1 piece", 3),
        ("2 pieces", 1),
        ("4 or more", 1),
    ]
    assert [group.group for group in found.gained_most] == ["whale", "the"]
    assert found.gained_most[1].words == 2
    assert found.overall.before == pytest.approx(np.exp(3.0))
    assert found.gained_most[0].ratio.value == pytest.approx(np.exp(-3.0))


def test_words_are_counted_without_regard_to_case() -> None:
    counts = count_words_of([("The sea, the SEA.", "A whale"), ("sea2 x",)], {"Sea", "the"})
    assert counts.counts == {"the": 2, "sea": 2}  # sea2 is another word
    assert counts.total == 7
    assert counts.per_million("Sea") == pytest.approx(2e6 / 7)


def test_words_are_counted_as_they_are_divided_in_every_script() -> None:
    counts = count_words_of([("नमस्ते, 漢字 नमस्ते.",)], {"नमस्ते", "漢"})
    assert counts.counts == {"नमस्ते": 2, "漢": 1}
    assert counts.total == 4


def test_a_perplexity_too_long_to_write_out_is_shortened_at_the_prompt_too() -> None:
    found = compare_words([masked_word("sea")], np.array([30.0]), np.array([2.0]), WordCounts(Counter(), 1))
    assert found.overall.row() == ("all", "1", "1.1e+13", "7.4", "0.000")


def test_what_a_recipe_leaves_out_is_the_adaptation_s(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        "[schedule]\nlengths = [1024]\n[model]\nmax_length = 8\n[tokenizer]\nvocab_size = 7\n"
    )
    recipe, base = load_adaptation_recipe(tmp_path / "recipe.toml"), adaptation_recipe()
    assert recipe == replace(base, schedule=replace(base.schedule, lengths=(1024,)))


def test_rows_longer_than_the_checkpoint_takes_are_refused(source: Path, recipe: Recipe, tmp_path: Path) -> None:
    longer = load_checkpoint(str(source)).max_length + 1
    long = replace(
        recipe,
        model=replace(recipe.model, max_length=10_000),
        schedule=replace(recipe.schedule, lengths=(longer,)),
    )
    with pytest.raises(RecipeError, match=rf"schedule\.lengths has {longer}, longer than the {longer - 1} tokens that"):
        adapt(str(source), long, TrainingOptions(tmp_path / "run"))


def test_a_report_may_hold_what_is_infinite(tmp_path: Path) -> None:
    """The model rules out a word that it is asked about, before or after."""

    def group(name: str, ratio: Estimate, after: float) -> WordGroup:
        return WordGroup(name, 10, 20.0, after, ratio)

    endless = group("all", Estimate(math.inf, 1.0, math.inf), math.inf)
    better = group("1 piece", Estimate(0.5, 0.4, 0.6), 10.0)
    write_report(BeforeAfter(endless, [endless, better], [better], []), "source", tmp_path)

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads((tmp_path / "adaptation.json").read_text(), parse_constant=refuse)
    assert read["overall"]["after"] is read["overall"]["ratio"]["high"] is None
    assert "| all | 10 | 20.0 | inf | inf (1.000 to inf) |" in (tmp_path / "adaptation.md").read_text()
    assert (tmp_path / "adaptation.png").stat().st_size > 1000
