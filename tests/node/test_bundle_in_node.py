"""The bundle in a program without Python: onnxruntime-node finds the tokens that the runtime finds."""

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from maskedge import Predictor

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
BUNDLE = HERE.parent / "tiny_bundle"
TEXTS = ["the [MASK] water", "[MASK] flows from the [MASK] .", "water is a <mask>, and the sea [MASK] from [MASK]."]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_node_finds_what_python_finds(node: Path, precision: str) -> None:
    predictor = Predictor.load(BUNDLE, precision=precision)
    encoded = [predictor.encode(text) for text in TEXTS]
    queries = [{"input_ids": text.input_ids.tolist(), "mask_positions": list(text.mask_positions)} for text in encoded]
    answers = run_node(node, precision, queries)
    for fill, answer in zip(predictor.fill(TEXTS), answers, strict=True):
        for mask, ids, logprobs in zip(fill.masks, answer["top_ids"], answer["top_logprobs"], strict=True):
            assert ids == [prediction.token for prediction in mask.predictions]
            expected = [prediction.score for prediction in mask.predictions]
            assert [math.exp(logprob) for logprob in logprobs] == pytest.approx(expected, rel=1e-4)


def run_node(node: Path, precision: str, queries: object) -> list[dict[str, list[list[float]]]]:
    command = ["node", "fill.mjs", os.fspath(BUNDLE), precision]
    ran = subprocess.run(
        command, cwd=node, input=json.dumps(queries), capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    answers: list[dict[str, list[list[float]]]] = json.loads(ran.stdout)
    return answers


def test_node_refuses_an_altered_bundle(node: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))
    with (copy / "tokenizer.json").open("a") as file:
        file.write(" ")
    ran = subprocess.run(
        ["node", "fill.mjs", copy, "int8"], cwd=node, input="[]", capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "tokenizer.json was altered" in ran.stderr
