"""The mean of checkpoints is each weight's mean, and what cannot be averaged is refused with nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import edit_weights
from transformers import AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

from maskedge.errors import MaskedgeError
from maskedge_export.cli.app import app
from maskedge_export.errors import CheckpointError, StagingError, TrainingError
from maskedge_export.training.averaging import average

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["bert", "modernbert", "albert"])
def two(
    request: pytest.FixtureRequest, make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A checkpoint, and another whose weights are those of the first with noise."""
    directory, family = tmp_path_factory.mktemp("two"), str(request.param)
    first, second = (make_checkpoint(family, directory / name) for name in ("first", "second"))
    return first, edit_weights(second, noisy)


def noisy(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: each + 0.02 * torch.randn(each.shape, generator=generator) for name, each in weights.items()}


@pytest.mark.parametrize(("shares", "first_part"), [(None, 0.5), ((1.0, 3.0), 0.25)])
@torch.no_grad()
def test_it_predicts_what_the_mean_of_all_weights_predicts(
    two: tuple[Path, Path],
    shares: tuple[float, ...] | None,
    first_part: float,
    masked_ids: Callable[..., Any],
    tmp_path: Path,
) -> None:
    average([str(each) for each in two], tmp_path / "mean", shares)
    mean, expected, second = map(AutoModelForMaskedLM.from_pretrained, (tmp_path / "mean", *two))
    for weight, other in zip(expected.parameters(), second.parameters(), strict=True):
        weight.lerp_(other, 1 - first_part)
    ids, _ = masked_ids(300)
    torch.testing.assert_close(mean(ids).logits, expected(ids).logits, rtol=1e-4, atol=1e-4)
    assert (mean(ids).logits - second(ids).logits).abs().max() > 0.1
    first, made = (AutoTokenizer.from_pretrained(path) for path in (two[0], tmp_path / "mean"))
    assert made.get_vocab() == first.get_vocab()


def test_half_precision_stays_half_where_all_have_it(two: tuple[Path, Path], tmp_path: Path) -> None:
    average([str(each) for each in two], tmp_path / "mean")
    (tmp_path / "half").mkdir()
    for file in (tmp_path / "mean").iterdir():
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    stored = load_file(tmp_path / "mean" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float32}
    save_file({name: weight.half() for name, weight in stored.items()}, tmp_path / "half" / "model.safetensors")
    again = average([str(tmp_path / "half")] * 2, tmp_path / "of halves")
    assert {weight.dtype for weight in load_file(again / "model.safetensors").values()} == {torch.float16}
    mixed = average([str(tmp_path / "half"), str(tmp_path / "mean")], tmp_path / "mixed")
    assert {weight.dtype for weight in load_file(mixed / "model.safetensors").values()} == {torch.float32}


def test_the_command_says_where_it_is_and_the_card_what_it_is_of(two: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--share", "2", "--share", "3", "--out", str(tmp_path / "mean")]
    result = CliRunner().invoke(app, ["average", *map(str, two), *options])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "mean") in result.stdout
    card = (tmp_path / "mean" / "README.md").read_text(encoding="utf-8")
    assert f"- 40% `{two[0]}`\n- 60% `{two[1]}`" in card


def test_what_is_no_mean_is_refused_and_nothing_written(
    checkpoints: Callable[[str], Path], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    bert, wider = str(checkpoints("bert")), str(make_checkpoint("bert", tmp_path / "wider", intermediate_size=96))
    heads = str(make_checkpoint("bert", tmp_path / "heads", num_attention_heads=2))  # of the same shapes
    out = tmp_path / "mean"
    refused: list[tuple[list[str], list[float] | None, type[MaskedgeError], str]] = [
        ([bert], None, TrainingError, "two checkpoints or more"),
        ([bert, bert], [1.0], TrainingError, "shares 1.0 are not those of 2 checkpoints"),
        ([bert, bert], [1.0, -1.0], TrainingError, "above 0"),
        (
            [bert, wider],
            None,
            CheckpointError,
            "wider is another kind of model than tiny-bert: intermediate_size is 96, not ",
        ),
        ([bert, heads], None, CheckpointError, "heads is another kind of model than tiny-bert: num_heads is 2, not 4"),
        ([bert, str(checkpoints("roberta"))], None, CheckpointError, "another kind of model"),
        ([bert, str(tmp_path / "nowhere")], None, CheckpointError, "nowhere"),
    ]
    for given, shares, error, said in refused:
        with pytest.raises(error, match=said):
            average(given, out, shares)
    assert {path.name for path in tmp_path.iterdir()} == {"wider", "heads"}
    out.mkdir()
    with pytest.raises(StagingError, match="exists"):
        average([bert, bert], out)


def test_another_vocabulary_is_refused(
    checkpoints: Callable[[str], Path], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_checkpoint("bert", tmp_path / "other")
    file = other / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    assert '"the":' in text
    file.write_text(text.replace('"the":', '"hte":'), encoding="utf-8")
    with pytest.raises(CheckpointError, match="other has another vocabulary than tiny-bert"):
        average([str(checkpoints("bert")), str(other)], tmp_path / "mean")
