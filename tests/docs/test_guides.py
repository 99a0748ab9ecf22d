"""Every guide does what it says: its commands and programs run as they are written, and print what it shows.

Another bundled model says other things: `PYTHONPATH=tests/tiny python tests/docs/test_guides.py` lets the
guides show what is printed now.
"""

import random
import re
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from guides import blocks, prints_what_is_shown, run_page, show_anew
from tiny_families import save_checkpoint

from maskedge import PageError
from maskedge.bundle import hub
from maskedge.static_page.packages import ONNXRUNTIME, fetch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUNDLE = ROOT / "tests" / "tiny_bundle"
SENTENCES = ROOT / "examples" / "sentences.txt"
PAGES = [
    "index.md",
    "guides/prompt.md",
    "guides/attention.md",
    "guides/embed.md",
    "guides/score.md",
    "guides/evaluate.md",
    "explained/scores.md",
]
PAGES_WITH_TORCH = {"guides/export.md": 200, "guides/adapt.md": 6000, "guides/train.md": 200}
"""And how many texts their reader has: an adaptation holds out two in a hundred, and wants a hundred of them."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnished(tmp_path_factory.mktemp("reader"))


def furnished(home: Path) -> Path:
    """A directory with what a reader of the guides has."""
    shutil.copytree(BUNDLE, home / "my-bundle")
    shutil.copyfile(ROOT / "examples" / "masked_sentences.parquet", home / "sentences.parquet")
    shutil.copyfile(ROOT / "examples" / "minimal_pairs.parquet", home / "pairs.parquet")
    shutil.copyfile(SENTENCES, home / "texts.txt")
    (home / "lines.txt").write_text("The [MASK] flows.\nA novel is [MASK] than a short story.\n", encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model so small that it is trained and exported in seconds."""
    torch.set_num_threads(1)  # it only loses by being divided
    return save_checkpoint("bert", tmp_path_factory.mktemp("checkpoints") / "bert", num_hidden_layers=1)


def texts(count: int) -> list[str]:
    """The example sentences' words in other orders."""
    words, rng = SENTENCES.read_text(encoding="utf-8").split(), random.Random(0)
    return [" ".join(rng.sample(words, 6)) for _ in range(count)]


class Hub:
    """What stands for huggingface_hub's client: nothing is sent."""

    create_repo = staticmethod(lambda *_, **__: None)

    def create_commit(self, repo_id: str, operations: list[object], **_: object) -> SimpleNamespace:
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{len(operations)}")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskedge.bundle.hub.download_bundle", lambda name, revision: BUNDLE)
    run_page(DOCS / page, reader)


def test_the_guide_to_pages_for_browsers_does_what_it_says(reader: Path) -> None:
    try:
        fetch(ONNXRUNTIME)
    except PageError as error:
        pytest.skip(str(error))
    run_page(DOCS / "guides" / "page.md", reader)


@pytest.mark.parametrize(("page", "count"), PAGES_WITH_TORCH.items())
def test_a_guide_that_trains_or_exports_does_what_it_says(
    page: str, count: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    shutil.copytree(checkpoint, tmp_path / "my-checkpoint")
    pq.write_table(pa.table({"text": texts(count)}), tmp_path / "my-text.parquet")
    run_page(DOCS / page, tmp_path)


def test_every_page_with_a_program_is_run() -> None:
    pages = {path.relative_to(DOCS).as_posix(): blocks(path.read_text(encoding="utf-8")) for path in DOCS.rglob("*.md")}
    programs = {page for page, found in pages.items() if {block.language for block in found} & {"console", "python"}}
    assert programs == {*PAGES, *PAGES_WITH_TORCH, "guides/page.md", "guides/bundle.md"}  # the last in tests/node


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("score 0.50", "score   0.51", True),
        ("score 0.50", "score 0.60", False),
        ("1 sons 39.40%", "1 sons 37.50%", True),
        ("1 sons 39.40%", "1 boys 39.40%", False),
        ("a ... d", "a b c d", True),
        ("a ... d", "a b c", False),
        ("a", "a b", False),
        ("4 ███ rows", "4 █▏ rows", True),
        ("339 of 344", "12 of 344", False),
        ("8e-05", "8.8e-05", True),
    ],
)
def test_what_is_shown_is_compared_word_by_word(shown: str, printed: str, same: bool) -> None:
    assert prints_what_is_shown(shown, printed) is same


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("```console\n$ echo b\na\n```", "shown:\na"),
        ("```console\n$ false\n```", "false exited 1"),
        ("```console\n$ pip install 'maskedge[typo]'\n```", "there is no extra {'typo'}"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```", "shown:\n2"),
        ("```python\nprint(1)\n```", "printed:\n1"),
    ],
)
def test_a_page_that_is_wrong_fails_at_its_line(block: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Title\n\n{block}\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=re.escape(why)) as caught:
        run_page(tmp_path / "page.md", tmp_path)
    assert str(caught.value).startswith("page.md:4: ")


PAGE = """```console
$ seq 1 5
1
...
{last}
$ echo same
same
```

```python
print("new")
```

```text
{told}
```
"""


def test_a_page_can_show_what_is_printed_now(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(last=6, told="old"), encoding="utf-8")
    with pytest.raises(AssertionError):
        run_page(page, tmp_path)
    show_anew(page, tmp_path)
    run_page(page, tmp_path)
    assert page.read_text(encoding="utf-8") == PAGE.format(last=5, told="new")


if __name__ == "__main__":
    hub.download_bundle = lambda name, revision: BUNDLE  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as scratch:
        for page in PAGES:
            show_anew(DOCS / page, furnished(Path(scratch) / Path(page).stem))
