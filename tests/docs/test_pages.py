"""The pages agree with what they are about: figures, public names, and the commands that the README borrows."""

import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest
from guides import blocks, commands

from maskedge.demo import limits
from maskedge_export.quantization.precisions import PRECISIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_page_of_results_is_made_of_its_figures() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "pages.py"))["pages"]()
    others = [DOCS / name for name in ("scale.md", "choose.md", "heads.md", "performance.md")]
    places = [*(DOCS / "results").glob("*.md"), *others, ROOT / "README.md"]
    written = {path.name: path.read_text(encoding="utf-8") for path in places}
    assert {name: page for name, page in written.items() if name != "index.md"} == made


def test_every_file_of_figures_is_shown_on_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in [*(DOCS / "results").glob("*.md"), *DOCS.glob("*.md")])
    linked = {Path(link).name for link in re.findall(r"\]\(([\w/]+\.json)\)", pages)}
    assert {path.name for path in (DOCS / "results").glob("*.json")} - linked == set()


@pytest.mark.parametrize("package", ["maskedge", "maskedge_export", "maskedge_batch"])
def test_the_reference_has_every_public_name_once(package: str) -> None:
    page = (DOCS / "reference" / f"{package}.md").read_text(encoding="utf-8")
    public = [f"{package}.{name}" for name in import_module(package).__all__]
    assert sorted(re.findall(r"^::: (\S+)", page, re.MULTILINE)) == sorted(public)


def test_the_guide_has_every_precision_in_its_order() -> None:
    page = (DOCS / "guides" / "export.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w[\w-]*)` \|", page, re.MULTILINE) == list(PRECISIONS)


def test_the_demo_s_guide_has_its_limits() -> None:
    page = (DOCS / "guides" / "demo.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", page, re.MULTILINE)[1:] == [
        ("Text to fill or score", f"{limits.MAX_CHARS:,} characters"),
        ("Predictions shown for a mask", f"{limits.MAX_TOP_K}"),
        ("File", f"{limits.MAX_FILE >> 20} MB, of which {limits.MAX_ROWS:,} rows are scored"),
        ("A file's scoring", f"{limits.MAX_SECONDS} seconds, {limits.MAX_MEMORY >> 30} GiB of memory"),
        ("All visitors' files", f"{limits.MAX_DISK >> 20} MB"),
        ("Files that wait to be scored", f"{limits.MAX_FILES_WAITING}"),
        ("Questions that wait for an answer", f"{limits.MAX_WAITING}"),
    ]
    assert f"after {limits.KEPT_SECONDS // 60} minutes" in page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_a_page_outside_the_site_links_to_what_there_is(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)", (ROOT / page).read_text(encoding="utf-8"))
    for file, anchor in links:
        assert (ROOT / file).exists(), file
        assert not anchor or anchor in anchors((ROOT / file).read_text(encoding="utf-8")), anchor


def anchors(page: str) -> list[str]:
    """Of the page's headings."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_the_readme_s_commands_are_the_guides_which_run() -> None:
    run = {command for path in DOCS.rglob("*.md") for command in commands(path.read_text(encoding="utf-8"))}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    known = run | {f"make {target}" for target in targets}
    assert [command for command in commands(README) if command not in known] == []


def test_the_readme_s_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [block.body for block in blocks(README) if block.language == "python"]
    exec(compile(program, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 6
