"""What other people's code and scripts rely on: the public names and the command lines, held against a list.

A change of `public_surface.json` is a change for users: it belongs into CHANGELOG.md. Written anew by
`python tests/test_public_surface.py`.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("public_surface.json")

COMMANDS = """
import importlib, json, sys, typer
root = typer.main.get_command(importlib.import_module(sys.argv[1]).app)
commands = {"": root} | getattr(root, "commands", {})
def flags(option):
    named = " ".join(sorted([*option.opts, *option.secondary_opts]))
    kind = getattr(option.type_descriptor.annotation, "__name__", str(option.type_descriptor.annotation))
    many = option.multiple or option.nargs != 1
    return f"{named}: {kind}{'...' if many else ''}, {'required' if option.required else option.default}"
print(json.dumps({name: sorted(flags(option) for option in command.params) for name, command in commands.items()}))
"""
NAMES = """
import importlib, inspect, json, sys
from enum import Enum
package = importlib.import_module(sys.argv[1])
def shape(value):
    if inspect.isclass(value) and issubclass(value, (Enum, Exception)):
        return value.__base__.__name__  # their signatures are Python's, and change with it
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return "value"
    return ", ".join(f"{'*' if each.kind is each.KEYWORD_ONLY else ''}{each.name}" for each in parameters)
names = {}
for name in package.__all__:
    value = getattr(package, name)
    names[name] = shape(value)
    if inspect.isclass(value):
        methods = [method for method in vars(value) if not method.startswith("_") and callable(getattr(value, method))]
        names |= {f"{name}.{method}": shape(getattr(value, method)) for method in methods}
print(json.dumps(names))
"""
ASKED = {
    "mlm": (COMMANDS, "maskedge.cli.app"),
    "mlm-batch": (COMMANDS, "maskedge_batch.cli.app"),
    "mlm-export": (COMMANDS, "maskedge_export.cli.app"),
    "maskedge": (NAMES, "maskedge"),
    "maskedge_export": (NAMES, "maskedge_export"),
    "maskedge_batch": (NAMES, "maskedge_batch"),
}


def surface(name: str) -> dict[str, object]:
    """What a process of its own finds: names with their parameters, or commands with their options."""
    script, module = ASKED[name]
    ran = subprocess.run([sys.executable, "-c", script, module], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", ASKED)
def test_nothing_that_users_call_has_changed(name: str) -> None:
    assert surface(name) == json.loads(FILE.read_text(encoding="utf-8"))[name]


@pytest.mark.parametrize("package", ["maskedge", "maskedge_batch", "maskedge_export"])
def test_every_command_line_says_its_version(package: str) -> None:
    environment = os.environ | {"MLM_VERSION": "yes"}  # as mlm-batch reads its options
    ran = subprocess.run([sys.executable, "-m", package, "--version"], capture_output=True, text=True, env=environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"maskedge {version('maskedge')}\n", "")


if __name__ == "__main__":
    surfaces = {name: surface(name) for name in ASKED}
    FILE.write_text(json.dumps(surfaces, indent=1, sort_keys=True) + "\n", encoding="utf-8")
