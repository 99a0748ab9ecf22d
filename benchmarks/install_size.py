"""What an application has to ship: the installed size of maskedge beside that of transformers with PyTorch.

    .venv/bin/python benchmarks/install_size.py

Makes a fresh environment for each, from constraints.txt, and measures its site-packages without pip itself. Writes the
figures as JSON.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
INSTALLS = {
    "maskedge, with the bundled model": [str(ROOT)],
    "transformers and PyTorch, without a model": ["transformers", "torch"],
}
PIP = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


def main(out: Annotated[Path, typer.Option()] = Path("build/install_size.json")) -> None:
    """Measure, print a table, and write the figures."""
    megabytes = {name: installed_megabytes(packages) for name, packages in INSTALLS.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(megabytes, indent=1) + "\n")
    table = Table("installed", "MB")
    for name, size in megabytes.items():
        table.add_row(name, f"{size:.0f}")
    Console().print(table)


def installed_megabytes(packages: list[str]) -> float:
    """Size of all that pip installs for the packages, in millions of bytes."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        python = Path(directory) / "bin" / "python"
        constraints = str(ROOT / "constraints.txt")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", constraints, *packages], check=True)
        (site_packages,) = Path(directory).glob("lib/*/site-packages")
        files = (path for path in site_packages.rglob("*") if path.is_file() and not path.is_symlink())
        shipped = (path for path in files if not path.relative_to(site_packages).parts[0].startswith(PIP))
        return sum(path.stat().st_size for path in shipped) / 1e6


if __name__ == "__main__":
    typer.run(main)
