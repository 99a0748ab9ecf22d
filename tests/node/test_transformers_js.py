"""transformers.js, in Node, loads a bundle's standard graphs and finds the tokens that the runtime finds."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from maskedge import Predictor

pytest.importorskip("onnx_ir")
from maskedge_export.graphs.optimum import save_standard, standard_files

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
BUNDLE = HERE.parent / "tiny_bundle"
INSTALLED = HERE.parents[1] / "build" / "node"
LENGTHS_DIFFER = ["the [MASK] water", "water flows from the [MASK] to the sea , and from the sea to the land ."]
TEXTS = [*LENGTHS_DIFFER, LENGTHS_DIFFER]  # each alone, and both in a padded batch
DTYPES = {"fp32": "fp32", "q8": "int8"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with standard graphs."""
    copy = Path(shutil.copytree(BUNDLE, tmp_path_factory.mktemp("bundles") / "tiny"))
    for precision, file in standard_files(["fp32", "int8"]).items():
        save_standard(copy / "onnx" / f"{precision}.onnx", copy / file, None)
    return copy


@pytest.mark.parametrize("dtype", DTYPES)
def test_transformers_js_finds_what_python_finds(node: Path, bundle: Path, dtype: str) -> None:
    ran = subprocess.run(
        ["node", "fill_mask.mjs", bundle, dtype],
        cwd=node,
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    first, second, both = json.loads(ran.stdout)
    predictor = Predictor.load(BUNDLE, precision=DTYPES[dtype])
    for answers, text in zip([first, second, *both], LENGTHS_DIFFER * 2, strict=True):
        for answer, expected in zip(answers, predictor(text, top_k=3), strict=True):
            assert answer["token"] == expected["token"]
            assert answer["token_str"] == expected["token_str"]
            assert answer["score"] == pytest.approx(expected["score"], rel=1e-3)
