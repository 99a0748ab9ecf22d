"""A console script without its extra says which one to install."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from maskedge.extras import exit_without_extra


@pytest.mark.parametrize("module", ["pyarrow", "pyarrow.parquet"])
def test_the_missing_package_and_the_extra_are_named(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_without_extra("mlm-batch", "batch", ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.err == "mlm-batch needs pyarrow, which is not installed: pip install 'maskedge[batch]'\n"
    assert printed.out == ""


@pytest.mark.parametrize("module", ["maskedge.typo", "maskedge_batch", "maskedge_export.graphs.onnx_export"])
def test_a_missing_module_of_our_own_is_a_defect(module: str) -> None:
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    with pytest.raises(ModuleNotFoundError) as caught:
        exit_without_extra("mlm-batch", "batch", error)
    assert caught.value is error


@pytest.mark.parametrize(
    ("command", "package", "missing"),
    [
        ("mlm", "maskedge", "typer"),
        ("mlm demo", "maskedge", "gradio"),
        ("mlm-batch", "maskedge_batch", "pyarrow"),
        ("mlm-export", "maskedge_export", "typer"),
        ("mlm-export bundle checkpoint --out bundle", "maskedge_export", "torch"),
    ],
)
def test_each_script_exits_2_and_names_its_extra(command: str, package: str, missing: str) -> None:
    command, *arguments = command.split()
    code = f"import sys; sys.modules[{missing!r}] = None; from {package}.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(command)
    first = missing if find_spec("typer") else "typer"  # which every script asks for before anything else
    assert f" needs {first}, " in result.stderr
    assert "pip install 'maskedge[" in result.stderr
    assert len(result.stderr.splitlines()) == 1
