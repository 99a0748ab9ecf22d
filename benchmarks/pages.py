"""The pages of docs/results, others of docs and a section of README.md: the templates in benchmarks/pages, filled with
the figures that other benchmarks wrote.

    .venv/bin/python benchmarks/pages.py

A page's text stands in its template and its numbers in docs/results/*.json; neither is typed twice.
"""

import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scale import scale

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
README = "README.md"
SECTION = re.compile(r"^## How fast\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
"""What of the README is filled in."""
ELSEWHERE = {**dict.fromkeys(["scale.md", "choose.md", "heads.md", "performance.md"], ROOT / "docs"), README: ROOT}
"""The folders of pages that are no results."""
MANIFEST = ROOT / "runtime" / "maskedge" / "default_bundle" / "maskedge.json"
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_suffix("")),
    autoescape=False,  # noqa: S701  # Markdown, of our own numbers
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def pages() -> dict[str, str]:
    """Each page's text by its file name. A template knows each JSON file by its stem, and the bundle's manifest."""
    figures = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in [*RESULTS.glob("*.json"), MANIFEST]}
    figures["scale"] = scale(figures)
    made = {name: TEMPLATES.get_template(name).render(figures) for name in TEMPLATES.list_templates()}
    readme = (ROOT / README).read_text(encoding="utf-8")
    return made | {README: SECTION.sub(lambda _: made[README], readme)}


if __name__ == "__main__":
    for name, page in pages().items():
        (ELSEWHERE.get(name, RESULTS) / name).write_text(page, encoding="utf-8")
