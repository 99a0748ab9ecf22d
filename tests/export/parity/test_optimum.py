"""Optimum loads a bundle's standard graphs, in an environment of its own, since it asks for an older transformers.

`make test` makes that environment in build/peers/optimum.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from maskedge_export.bundles.export import ExportOptions, export_bundle

PYTHON = Path(__file__).parents[3] / "build" / "peers" / "optimum" / "bin" / "python"
SCRIPT = """
import json, sys
from optimum.onnxruntime import ORTModelForMaskedLM
from transformers import AutoTokenizer, pipeline
bundle, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(bundle)
answers = {}
for file in ("model.onnx", "model_quantized.onnx"):
    model = ORTModelForMaskedLM.from_pretrained(bundle, subfolder="onnx", file_name=file)
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
    answers[file] = [fill(texts), fill(texts, batch_size=len(texts))]
print(json.dumps(answers))
"""
TEXTS = ["The {} flows.", "A novel is longer than a short {}, as everybody knows, and dearer too."]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.is_file(), reason="no Optimum in build/peers/optimum: make test puts it there"),
]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_optimum_finds_what_transformers_finds(
    family: str, checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints(family)
    options = ExportOptions("int8", (few_sentences,), gate=False, standard=True)
    export_bundle(str(checkpoint), tmp_path / "bundle", options)
    fill: Any = transformers.pipeline("fill-mask", model=str(checkpoint), tokenizer=str(checkpoint))
    texts = [text.format(fill.tokenizer.mask_token) for text in TEXTS]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [PYTHON, "-c", SCRIPT, tmp_path / "bundle", json.dumps(texts)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout)
    for found in answers["model.onnx"]:
        for candidates, expected in zip(found, fill(texts), strict=True):
            assert [candidate["token"] for candidate in candidates] == [candidate["token"] for candidate in expected]
            assert [candidate["score"] for candidate in candidates] == pytest.approx(
                [candidate["score"] for candidate in expected], rel=1e-3
            )
    for quantized, full in zip(answers["model_quantized.onnx"][0], answers["model.onnx"][0], strict=True):
        assert {candidate["token"] for candidate in quantized} & {candidate["token"] for candidate in full}
