"""The contenders' environments, each made from the exact versions of a file in benchmarks/peers/constraints/.

    .venv/bin/python benchmarks/harness/environments.py optimum      # makes one

An environment has what its file names, and finds all else in the one that this program runs in. maskedge's has the
runtime and nothing else. An environment is made anew when what it is made of changes.
"""

import hashlib
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Environment", "NotInstallableError", "environment", "installed_bytes", "versions"]

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "peers"
CONSTRAINTS = ROOT / "benchmarks" / "peers" / "constraints"
OURS = "maskedge"


class NotInstallableError(Exception):
    """An environment cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter, and where it finds packages."""

    python: Path
    packages: tuple[Path, ...]
    """Directories of packages; of two versions, the first one's is imported."""
    digest: str
    """Of what it was made of."""


def environment(name: str) -> Environment:
    """A contender's environment, made where it is not there yet.

    Raises NotInstallableError.
    """
    if name != OURS and not constraints_of(name).is_file():
        return Environment(Path(sys.executable), (development_packages(),), digest_of(name))
    directory, digest = BUILD / name, digest_of(name)
    stamp = directory / "stamp"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != digest:
        make(name, directory)
        stamp.write_text(digest, encoding="utf-8")
    (own,) = directory.glob("lib/*/site-packages")
    found = (own,) if name == OURS else (own, development_packages())
    return Environment(directory / "bin" / "python", found, digest)


def constraints_of(name: str) -> Path:
    """The file with an environment's versions."""
    return CONSTRAINTS / f"{name}.txt"


def development_packages() -> Path:
    """Of the interpreter that runs this."""
    return Path(sysconfig.get_paths()["purelib"])


def digest_of(name: str) -> str:
    """SHA-256 of what an environment is made of."""
    made_of = [ROOT / "constraints.txt", ROOT / "pyproject.toml", constraints_of(name)]
    if name == OURS:
        sources = (path for path in (ROOT / "runtime").rglob("*") if path.suffix in (".py", ".c", ".h"))
        made_of += [ROOT / "hatch_build.py", *sorted(sources)]
    contents = [path.read_bytes() for path in made_of if path.is_file()]
    return hashlib.sha256(b"\0".join([sys.version.encode(), *contents])).hexdigest()


def make(name: str, directory: Path) -> None:
    """A new environment."""
    run([sys.executable, "-m", "venv", "--clear", str(directory)], name)
    (own,) = directory.glob("lib/*/site-packages")
    pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if name == OURS:
        run([*pip, "-c", str(ROOT / "constraints.txt"), f"{ROOT}[openvino]"], name)
        return
    (own / "development.pth").write_text(f"{development_packages()}\n", encoding="utf-8")
    run([*pip, "--no-deps", "--no-warn-conflicts", "-r", str(constraints_of(name))], name)


def run(command: list[str], name: str) -> None:
    """A command of making an environment."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise NotInstallableError(f"{name} cannot be installed: {lines[0].removeprefix('ERROR: ')}")


@cache
def installed_bytes(found: Environment, roots: tuple[str, ...]) -> int:
    """The size of packages with all that they need, as pip's records list their files."""
    return sum(size(distribution) for distribution in needed(found, roots))


def versions(found: Environment, roots: Iterable[str]) -> dict[str, str]:
    """The versions of packages."""
    return {name: distribution.version for name in roots if (distribution := find(found, name)) is not None}


def needed(found: Environment, roots: Iterable[str]) -> Iterator[metadata.Distribution]:
    """The packages and those that they need, each once."""
    waiting, seen = list(roots), set[str]()
    while waiting:
        name = canonicalize_name(waiting.pop())
        distribution = None if name in seen else find(found, name)
        seen.add(name)
        if distribution is not None:
            yield distribution
            waiting += requirements(distribution)


def find(found: Environment, name: str) -> metadata.Distribution | None:
    """An installed package; None where there is none of that name."""
    paths = [str(path) for path in found.packages]
    return next(iter(metadata.Distribution.discover(name=name, path=paths)), None)


def requirements(distribution: metadata.Distribution) -> list[str]:
    """The names of the packages that one needs here, without its extras."""
    asked = [Requirement(line) for line in distribution.requires or []]
    return [one.name for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]


def size(distribution: metadata.Distribution) -> int:
    """Bytes of a package's files."""
    files = (Path(str(file.locate())) for file in distribution.files or [])
    return sum(path.stat().st_size for path in files if path.is_file())


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        environment(asked)
