"""What the wheel and the sdist hold: the packages, their licences, and nothing else."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ["batch/maskedge_batch", "export/maskedge_export", "runtime/maskedge"]
LICENCES = ["LICENSE", "NOTICE", "LICENSES/CC-BY-SA-3.0.txt"]
BESIDE_THE_PACKAGES = ["pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", *LICENCES]


@dataclass(frozen=True, slots=True)
class Built:
    """What was built: the files of each, by name."""

    sdist: dict[str, bytes]
    wheel: dict[str, bytes]
    """Built from the sdist."""
    wheel_of_the_tree: dict[str, bytes]
    deflated: bool
    """Whether every file of the wheel is."""

    @property
    def described(self) -> str:
        """What the wheel says of itself, its tags among it."""
        (text,) = [body for name, body in self.wheel.items() if name.endswith(".dist-info/WHEEL")]
        return text.decode()

    @property
    def compiled(self) -> set[str]:
        """The kernels, where they could be compiled."""
        return {"maskedge/kernels/kernels.so"} if shutil.which("cc") and platform.machine() == "x86_64" else set()

    @property
    def metadata(self) -> Message:
        """The wheel's."""
        (text,) = [body for name, body in self.wheel.items() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(text.decode())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel twice, without the network: the environment has what builds them."""
    of_sdist, of_tree = tmp_path_factory.mktemp("of_sdist"), tmp_path_factory.mktemp("of_tree")
    build = [sys.executable, "-m", "build", "--no-isolation", str(ROOT), "--outdir"]
    subprocess.run([*build, str(of_sdist)], check=True, capture_output=True)
    subprocess.run([*build, str(of_tree), "--wheel"], check=True, capture_output=True)
    (sdist,), (wheel,), (of_the_tree,) = of_sdist.glob("*.tar.gz"), of_sdist.glob("*.whl"), of_tree.glob("*.whl")
    with ZipFile(wheel) as archive:
        deflated = all(entry.compress_type == ZIP_DEFLATED for entry in archive.infolist())
    return Built(unpacked(sdist), unzipped(wheel), unzipped(of_the_tree), deflated)


def unpacked(sdist: Path) -> dict[str, bytes]:
    """The files of an sdist, by their names within its directory."""
    with tarfile.open(sdist) as archive:
        files = {entry.name.partition("/")[2]: archive.extractfile(entry) for entry in archive if entry.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def unzipped(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, by name."""
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def kept(package: str) -> set[str]:
    """The files of a package that git knows, or would take up."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", package]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).exists()}


def test_the_wheel_has_the_three_packages_and_nothing_else(built: Built) -> None:
    expected = {name.partition("/")[2] for package in PACKAGES for name in kept(package)}
    assert {name for name in built.wheel if ".dist-info/" not in name} == expected | built.compiled
    assert [name for name in expected if re.search(r"(^|/)(tests?|docs|__pycache__)/|\.(pyc|png|so)$", name)] == []


def test_the_sdist_has_what_the_wheel_is_built_of_and_nothing_else(built: Built) -> None:
    expected = {name for package in PACKAGES for name in kept(package)} | set(BESIDE_THE_PACKAGES)
    assert set(built.sdist) == expected | {"PKG-INFO", ".gitignore"}  # the two that the build backend adds
    assert all(built.sdist[name] == (ROOT / name).read_bytes() for name in expected)


def test_the_sdist_builds_the_wheel_that_the_tree_builds(built: Built) -> None:
    assert built.wheel == built.wheel_of_the_tree


def test_the_kernels_run_with_the_c_library_that_the_wheel_s_name_promises(built: Built) -> None:
    if not built.compiled:
        pytest.skip("this machine compiles no kernels")
    (promised,) = re.findall(r"^Tag: py3-none-manylinux_2_(\d+)_x86_64$", built.described, re.MULTILINE)
    (name,) = built.compiled
    needed = re.findall(rb"GLIBC_2\.(\d+)", built.wheel[name])
    assert needed
    assert max(map(int, needed)) <= int(promised)


def test_without_a_compiler_the_wheel_is_for_every_system(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", str(ROOT), "--outdir", str(tmp_path)]
    ran = subprocess.run(build, check=True, capture_output=True, text=True, env={**os.environ, "CC": "no-compiler"})
    assert (
        "The kernels were not compiled; onnxruntime runs everything: there is no C compiler" in ran.stderr + ran.stdout
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in unzipped(wheel) if name.endswith(".so")]


def test_the_licences_of_code_and_model_are_inside(built: Built) -> None:
    assert built.metadata.get_all("License-File") == sorted(LICENCES)
    for name in LICENCES:
        (inside,) = [body for path, body in built.wheel.items() if path.endswith(f".dist-info/licenses/{name}")]
        assert inside == (ROOT / name).read_bytes()


def test_the_bundled_model_s_licence_is_among_the_package_s_with_its_text(built: Built) -> None:
    card = built.wheel["maskedge/default_bundle/README.md"].decode()
    stated = re.findall(r"^license: (.+)$", card, re.MULTILINE)
    others = set(built.metadata["License-Expression"].split(" AND ")) - {"Apache-2.0"}  # the code's
    assert [licence.casefold() for licence in others] == stated
    assert {f"LICENSES/{licence}.txt" for licence in others} <= set(LICENCES)


def test_the_data_s_licences_are_told_by_the_bundled_model_s_card(built: Built) -> None:
    card = built.wheel["maskedge/default_bundle/README.md"].decode()
    _, table = card.split("Data and licences\n\n", 1)
    heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table_lines(table)]
    assert heading[-1] == "Licence"
    assert rows
    assert all(row[-1] for row in rows)


def table_lines(page: str) -> list[str]:
    """The lines of the table that a page begins with."""
    return page.partition("\n\n")[0].splitlines()


def test_each_package_tells_type_checkers_that_it_is_typed(built: Built) -> None:
    assert {f"{Path(package).name}/py.typed" for package in PACKAGES} <= set(built.wheel)


def test_the_wheel_is_as_small_as_its_format_allows(built: Built) -> None:
    bodies = Counter(body for body in built.wheel.values() if len(body) > 1024)
    assert built.deflated
    assert [count for count in bodies.values() if count > 1] == []  # nothing is in it twice
