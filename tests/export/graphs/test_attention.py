"""Attention graphs say where transformers' heads look, in every native family and at every length."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from maskedge import BundleNotFoundError, Predictor
from maskedge.bundle.engine import OnnxGraph
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.errors import GateError
from maskedge_export.evaluation import attention as comparing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def eager(checkpoint: Path) -> Any:
    """The family's model in transformers, its attention written out."""
    return AutoModelForMaskedLM.from_pretrained(checkpoint, attn_implementation="eager").eval()


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 2), (1, 17), (2, 48)])
def test_probabilities_are_those_of_transformers(fp32_bundle: Path, eager: Any, batch: int, length: int) -> None:
    ids = np.random.default_rng(length).integers(5, 60, (batch, length))
    graph = OnnxGraph(fp32_bundle / "onnx" / "fp32.attention.onnx")
    found = graph.run(["attentions"], {"input_ids": ids})["attentions"]
    with torch.no_grad():
        layers = eager(torch.from_numpy(ids), output_attentions=True).attentions
    expected = torch.stack(layers, dim=1).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4


def test_the_manifest_says_how_near_they_are(fp32_bundle: Path) -> None:
    said = json.loads((fp32_bundle / "maskedge.json").read_text())["attention"]["fp32"]["verification"]
    assert said["passed"]
    assert 0 <= said["max_difference"] <= 1e-4
    assert said["texts"] > 3


def test_weights_are_those_of_the_scoring_graph_and_stored_once(fp32_bundle: Path) -> None:
    onnx = fp32_bundle / "onnx"
    assert sorted(path.name for path in onnx.iterdir()) == ["fp32.attention.onnx", "fp32.onnx", "fp32.onnx.data"]


def test_int8_looks_nearly_where_fp32_looks(int8_bundles: Callable[[str], Path]) -> None:
    bundle = int8_bundles("bert")
    text = "The river flows past the old [MASK]."
    fp32, int8 = (Predictor.load(bundle, precision=name).attend(text).weights for name in ("fp32", "int8"))
    assert 0 < np.abs(fp32 - int8).mean() < 0.02


def test_a_graph_that_differs_is_not_written(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(GateError, match="fp32: attention differs"):
        export_bundle(str(checkpoints("bert")), tmp_path / "bundle", ExportOptions("fp32"))
    assert not (tmp_path / "bundle").exists()


def test_an_architecture_without_a_native_encoder_has_none_and_says_so(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("mpnet", tmp_path / "mpnet")
    export_bundle(str(checkpoint), tmp_path / "bundle", ExportOptions("fp32"))
    predictor = Predictor.load(tmp_path / "bundle")
    with pytest.raises(BundleNotFoundError, match=r"no attention graph of .fp32..*mlm-export bundle"):
        predictor.attend("The river flows.")


def test_an_altered_attention_graph_is_refused(fp32_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(fp32_bundle, tmp_path / "bundle")
    with (copy / "onnx" / "fp32.attention.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(Exception, match="was altered"):
        Predictor.load(copy)
