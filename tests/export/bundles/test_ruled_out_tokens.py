"""A vocabulary with rows that are ruled out, their bias being -infinity: exported, proved and answered as any other."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from maskedge import Predictor
from maskedge.bundle.engine import graph_inputs
from maskedge.bundle.format import MANIFEST_NAME
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.errors import ExportError
from maskedge_export.evaluation.gate import GATE, changed

pytestmark = pytest.mark.slow

BANNED = [7, 60, 200]


@pytest.fixture(scope="module")
def bundle(checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ruled-out")
    checkpoint = Path(shutil.copytree(checkpoints("bert"), directory / "checkpoint"))
    weights = load_file(checkpoint / "model.safetensors")
    weights["cls.predictions.bias"][BANNED] = -math.inf
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    # random weights are unsure of everything, and rounding changes their best tokens
    limits = changed(GATE, top1_agreement=0.5, pair_agreement=0.5, perplexity_change=0.5, mean_kl=0.2)
    export_bundle(str(checkpoint), directory / "bundle", ExportOptions("both", (few_sentences,), limits=limits))
    return directory / "bundle"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_passes_its_proof_with_metrics_that_are_numbers(bundle: Path, precision: str) -> None:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    manifest = json.loads((bundle / MANIFEST_NAME).read_text(encoding="utf-8"), parse_constant=refuse)
    verification = manifest["graphs"][precision]["verification"]
    assert verification["passed"]
    for name in ("mean_kl", "p99_kl", "max_logprob_difference", "perplexity_change", "top1_agreement"):
        assert math.isfinite(verification[name])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_graph_itself_takes_0_log_0_for_0(bundle: Path, precision: str) -> None:
    """Other programs run it too."""
    predictor = Predictor.load(bundle, precision=precision)
    size = predictor.bundle.manifest.vocab_size
    outputs = predictor.graph.run(
        ["top_logprobs", "entropy", "target_logprobs", "target_ranks"],
        graph_inputs([[2, 5, 4, 3]], [[2]], [[[7, 8]]], size),
    )
    logprobs = np.asarray(outputs["top_logprobs"][0, 0], np.float64)
    left = logprobs[logprobs > -np.inf]
    assert len(left) == size - len(BANNED)
    assert outputs["entropy"][0, 0] == pytest.approx(-(np.exp(left) * left).sum(), abs=1e-5)
    assert outputs["target_logprobs"][0, 0, 0] == -np.inf
    assert outputs["target_ranks"][0, 0, 0] == size - len(BANNED) + 1


def test_its_golden_vectors_are_replayed(bundle: Path) -> None:
    assert Predictor.load(bundle, precision="fp32").verify().passed


def test_a_model_whose_sums_overflow_is_refused_without_advice_on_text(
    checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path: Path
) -> None:
    """Its weights are numbers, each of them."""
    checkpoint = Path(shutil.copytree(checkpoints("bert"), tmp_path / "checkpoint"))
    weights = load_file(checkpoint / "model.safetensors")
    for layer in range(2):
        weights[f"bert.encoder.layer.{layer}.attention.self.query.weight"] *= 1e30
        weights[f"bert.encoder.layer.{layer}.attention.self.key.weight"] *= 1e30
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"no number|NaN") as caught:
        export_bundle(str(checkpoint), tmp_path / "bundle", ExportOptions("fp32", (few_sentences,)))
    assert "calibration text" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()
