"""What the tests in Node share: the packages that the lock names, installed once."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / "build" / "node"
SOURCES = ("package.json", "package-lock.json", "fill.mjs", "fill_mask.mjs")


@pytest.fixture(scope="session")
def node() -> Path:
    """The directory with the scripts and their packages, which are installed once."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # several processes run tests, and npm empties the directory first
        install()
    return INSTALLED


def install() -> None:
    """The scripts and the packages, where they are not the ones that are there."""
    for name in SOURCES:
        shutil.copyfile(HERE / name, INSTALLED / name)
    lock = (HERE / "package-lock.json").read_bytes()
    stamp = INSTALLED / "installed-lock.json"
    if not stamp.is_file() or stamp.read_bytes() != lock:
        install_packages()
        stamp.write_bytes(lock)


def install_packages() -> None:
    """The packages that the lock names, without their install scripts, which fetch what is not used here."""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    ran = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, check=False, timeout=600)
    if ran.returncode:
        pytest.skip(f"npm could not install the packages: {ran.stderr.strip()[-200:]}")
