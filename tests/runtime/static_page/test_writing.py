"""What is written, and what is said where it cannot be."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maskedge import Bundle, BundleNotFoundError
from maskedge.errors import PageError
from maskedge.static_page import WrittenPage, how_to_open, write_static_page
from maskedge.static_page.packages import PACKAGES, TOKENIZERS, fetch

WritePage = Callable[..., WrittenPage]

needs_posix = pytest.mark.skipif(os.name == "nt", reason="a program of a few lines of shell stands in for npm")


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


def npm_that(does: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program in the place of npm."""
    directory.mkdir()
    program = directory / "npm"
    program.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)


def test_without_npm_one_line_says_so(opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PageError, match=r"^a page is made with npm, which fetches onnxruntime-web@.*: get Node\.js$"):
        write_static_page(opened, tmp_path / "page")
    assert not (tmp_path / "page").exists()


@needs_posix
def test_what_npm_complains_of_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_that("""printf '{"error": {"summary": "no\\\\nnetwork"}}'; exit 1""", tmp_path / "bin", monkeypatch)
    with pytest.raises(PageError, match=rf"^npm could not fetch {TOKENIZERS.spec}: no network$"):
        fetch(TOKENIZERS)


@needs_posix
def test_another_archive_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_that("echo altered > package.tgz", tmp_path / "bin", monkeypatch)
    with pytest.raises(PageError, match="npm gave another @huggingface/tokenizers@"):
        fetch(TOKENIZERS)


def test_other_files_are_not_written_over(opened: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"holds other files \(thesis.txt\)"):
        write_static_page(opened, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_precision_that_the_bundle_lacks_is_named(opened: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="has no 'int4' graph"):
        write_static_page(opened, tmp_path / "page", precision="int4")


def test_the_licenses_of_what_runs_are_there(tiny_page: WrittenPage) -> None:
    page = tiny_page.path.read_text(encoding="utf-8")
    for package in PACKAGES:
        assert f"{package.name} {package.version} ({package.license})" in page
    assert "Copyright (c) Microsoft Corporation" in page
    assert "Apache License" in page


@pytest.mark.slow
def test_equal_bundles_give_equal_pages(write_page: WritePage, opened: Bundle, tmp_path: Path) -> None:
    one, other = (write_page(opened, tmp_path / name, single_file=True) for name in ("one", "other"))
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.total == one.path.stat().st_size


@pytest.mark.slow
def test_a_page_takes_the_place_of_an_earlier_one(write_page: WritePage, opened: Bundle, tmp_path: Path) -> None:
    several = write_page(opened, tmp_path / "page", single_file=False)
    files = [path for path in several.path.parent.rglob("*") if path.is_file()]
    assert len(files) == 1 + len(several.sizes)
    assert several.total == sum(path.stat().st_size for path in files)
    assert "python3 -m http.server" in how_to_open(several)
    single = write_page(opened, tmp_path / "page")  # small enough for one file
    assert single.single_file
    assert [path.name for path in single.path.parent.iterdir()] == ["index.html"]
    assert "open it in a browser" in how_to_open(single)


def test_the_page_asks_for_nothing_from_elsewhere(tiny_page: WrittenPage) -> None:
    page = tiny_page.path.read_text(encoding="utf-8")
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy[0]
    assert "'unsafe-eval'" not in policy[0]
    markup = re.sub(r"(?s)<script.*?</script>|<pre>.*?</pre>|<style>.*?</style>", "", page)
    assert re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:)""", markup) == []


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_what_is_behind_it_in_both_schemes(tiny_page: WrittenPage) -> None:
    style = tiny_page.path.read_text(encoding="utf-8").split("<style>")[1]
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split(":root")[1:3])
    for colours in (light, {**light, **dark}):
        for front, back in [
            ("ink", "paper"),
            ("ink", "card"),
            ("muted", "paper"),
            ("muted", "card"),
            ("accent", "wash"),
        ]:
            low, high = sorted((luminance(colours[front]), luminance(colours[back])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)  # WCAG 2.2, AA


@pytest.fixture
def mlm() -> list[str]:
    pytest.importorskip("typer")
    return [sys.executable, "-m", "maskedge"]


@pytest.mark.slow
def test_the_command_names_the_page_and_how_to_open_it(mlm: list[str], bundle: Path, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = [*mlm, "demo", "--static", str(tmp_path / "page"), "--model", str(bundle)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if "npm could not fetch" in ran.stderr:
        pytest.skip(ran.stderr)
    assert (ran.returncode, ran.stdout) == (0, f"{tmp_path / 'page' / 'index.html'}\n")
    assert re.fullmatch(r"\d+(\.\d)? MB in one file: open it in a browser, .*\n", ran.stderr)


@pytest.mark.slow
def test_the_command_refuses_in_a_line(mlm: list[str], bundle: Path, tmp_path: Path) -> None:
    command = [*mlm, "demo", "--static", str(tmp_path / "page"), "--model", str(bundle)]
    nowhere = {**os.environ, "PATH": str(tmp_path)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=nowhere)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert ran.stderr.startswith("Error: a page is made with npm")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "thesis.txt").touch()
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    for too_much in (["--port", "80"], ["--host", "::1"], ["--model", str(bundle)]):
        ran = subprocess.run([*command, *too_much], capture_output=True, text=True, check=False, timeout=60)
        assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
