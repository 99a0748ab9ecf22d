"""What `import maskedge` costs, and what it offers."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import maskedge

HEAVY = ["torch", "transformers", "typer", "rich", "pyarrow", "matplotlib", "onnx", "huggingface_hub", "gradio"]


def test_import_loads_nothing_heavy() -> None:
    script = f"import sys, maskedge; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_prediction_loads_nothing_heavy(bundle: object) -> None:
    script = (
        f"import sys, maskedge; maskedge.Predictor.load({str(bundle)!r})('the [MASK].');"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_no_number_for_the_machine_is_left_in_the_home_directory(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", "import maskedge"], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_all_is_what_the_package_makes_public() -> None:
    public = {name for name, value in vars(maskedge).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert set(maskedge.__all__) == public
    assert len(maskedge.__all__) == len(public)


@pytest.mark.parametrize("name", maskedge.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    documented = getattr(maskedge, name).__doc__
    assert documented
    assert not documented.startswith(f"{name}(")  # what a dataclass says of itself where nobody wrote anything
