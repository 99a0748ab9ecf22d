"""The faces of the packages with heavy dependencies: their names are there, and cost nothing until asked for."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = {"maskedge_export": "torch", "maskedge_batch": "pyarrow"}
"""Each with a package that only its extra installs."""
HEAVY = ["torch", "transformers", "onnx", "pyarrow", "typer", "rich", "matplotlib", "altair", "huggingface_hub"]


def run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)


def imports(package: str) -> dict[str, str]:
    """The module of each name that the package's file imports, for type checkers only or at once."""
    file = import_module(package).__file__
    assert file
    statements = [
        node for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    ours = [node for node in statements if node.module and node.module.startswith(f"{package}.")]
    return {alias.name: str(node.module) for node in ours for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_import_loads_nothing_heavy(package: str) -> None:
    ran = run(f"import sys, {package}; print([name for name in {HEAVY} if name in sys.modules])")
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_what_type_checkers_take_it_for(package: str) -> None:
    face, homes = import_module(package), imports(package)
    assert sorted(face.__all__) == sorted(homes)
    assert dir(face) == sorted(face.__all__)
    for name, home in homes.items():
        assert getattr(face, name) is getattr(import_module(home), name)


@pytest.mark.parametrize(("package", "missing"), PACKAGES.items())
def test_a_name_without_its_extra_says_what_to_install(package: str, missing: str) -> None:
    name = {"maskedge_export": "export_bundle", "maskedge_batch": "score_file"}[package]
    ran = run(f"import sys; sys.modules[{missing!r}] = None; from {package} import {name}")
    extra = package.removeprefix("maskedge_")
    message = f"{package}.{name} needs {missing}, which is not installed: pip install 'maskedge[{extra}]'"
    assert ran.stderr.splitlines()[-1] == f"ModuleNotFoundError: {message}"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_no_attribute(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'typo'"):
        import_module(package).typo  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_every_function_and_class_is_documented(package: str) -> None:
    face = import_module(package)
    for name in face.__all__:
        value = getattr(face, name)
        if callable(value):
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{name}("), name  # what a dataclass says of itself
