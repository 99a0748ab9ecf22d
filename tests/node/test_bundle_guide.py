"""The guide to bundles from any language does what it says: its JavaScript in Node, its Python with Optimum."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from guides import run_page
from tiny_families import SENTENCES, save_checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FEW = 70
"""Texts, of which an export wants 64."""
OPTIMUM = ROOT / "build" / "peers" / "optimum" / "bin" / "python"


@pytest.fixture(scope="module")
def followed(node: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader has followed the guide."""
    torch.set_num_threads(1)  # a model so small only loses by being divided
    home = tmp_path_factory.mktemp("reader")
    (home / "node_modules").symlink_to(node / "node_modules")
    shutil.copytree(ROOT / "tests" / "tiny_bundle", home / "my-bundle")
    save_checkpoint("bert", home / "my-checkpoint", num_hidden_layers=1)
    few = SENTENCES.read_text(encoding="utf-8").splitlines()[:FEW]
    (home / "my-text.txt").write_text("\n".join(few), encoding="utf-8")
    run_page(ROOT / "docs" / "guides" / "bundle.md", home)
    return home


def test_the_programs_in_javascript_run(followed: Path) -> None:
    assert (followed / "bundles" / "my-bundle" / "onnx" / "model_quantized.onnx").is_file()


@pytest.mark.skipif(not OPTIMUM.is_file(), reason="no Optimum in build/peers/optimum: make test puts it there")
def test_the_program_with_optimum_runs(followed: Path) -> None:
    ran = subprocess.run(
        [OPTIMUM, "with_optimum.py"],
        cwd=followed,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
