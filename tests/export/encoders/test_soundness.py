"""Weights that are no numbers are named when a checkpoint is loaded."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.errors import CheckpointError

TABLE, BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"


@pytest.fixture
def with_value(checkpoints: Callable[[str], Path], tmp_path: Path) -> Callable[[str, float], Path]:
    """A BERT of which a weight's first row, or a bias's first number, is some value."""

    def change(name: str, value: float) -> Path:
        directory = Path(shutil.copytree(checkpoints("bert"), tmp_path / "checkpoint"))
        file = directory / "model.safetensors"
        weights = load_file(file)
        weights[name] = weights[name].clone()
        weights[name][0] = value
        save_file(weights, file, metadata={"format": "pt"})
        return directory

    return change


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [TABLE, "bert.encoder.layer.1.attention.self.query.weight"])
def test_a_matrix_with_what_is_no_number_is_named(
    with_value: Callable[[str, float], Path], name: str, value: float
) -> None:
    with pytest.raises(CheckpointError, match=rf"NaN or infinities in 1 of its weights, 32 of them in {name}"):
        load_checkpoint(str(with_value(name, value)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bias_that_is_no_number_is_named(with_value: Callable[[str, float], Path], value: float) -> None:
    with pytest.raises(CheckpointError, match=r"1 of them in cls\.predictions\.bias"):
        load_checkpoint(str(with_value(BIAS, value)))


def test_a_bias_may_rule_a_token_out(with_value: Callable[[str, float], Path]) -> None:
    loaded = load_checkpoint(str(with_value(BIAS, -math.inf)))
    ids = torch.tensor([[2, 5, 4, 3]])
    found = loaded.native()(ids, torch.tensor([[2]])).log_softmax(-1)
    expected = loaded.model(ids).logits[:, 2:3].log_softmax(-1)
    assert found[0, 0, 0] == -math.inf
    assert torch.allclose(found, expected, atol=1e-5)
