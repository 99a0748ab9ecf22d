"""The model card is what the Hub's own parser reads, whatever names it is given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from maskedge.bundle.format import GraphEntry
from maskedge_export.bundles.model_card import write_model_card
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.errors import CheckpointError
from maskedge_export.evaluation.bootstrap import Estimate
from maskedge_export.evaluation.comparison import Comparison
from maskedge_export.evaluation.gate import Limits
from maskedge_export.evaluation.metric_labels import without_perplexity

COMPARISON = Comparison(
    masked_tokens=1234,
    max_logprob_difference=0.5,
    mean_kl=Estimate(0.0123, 0.0117, 0.0131),
    p99_kl=Estimate(0.11, 0.09, 0.14),
    top1_agreement=Estimate(0.948, 0.934, 0.961),
    top5_agreement=Estimate(0.952, 0.948, 0.957),
    perplexity_change=Estimate(0.0012, -0.004, 0.007),
    reference_perplexity=56.1,
    candidate_perplexity=56.2,
)
FIGURES = {
    "reference": "fp32",
    "passed": True,
    "failures": [],
    "limits": {"mean_kl": 0.005},
    "text": "held-out text",
    **COMPARISON.as_dict(),
}
GRAPHS = {"int8": GraphEntry("onnx/int8.onnx", FIGURES)}
NASTY = [
    "<script>alert(1)</script>",
    "a | b",
    "# heading\n## another",
    "[link](javascript:alert(1))",
    "**bold** `code` $x$ {name}",
    "---\nlicense: mit\n---",
    "![image](http://127.0.0.1/x.png)",
]


@pytest.fixture(scope="module")
def source(checkpoints: Callable[[str], Path]) -> Checkpoint:
    return load_checkpoint(str(checkpoints("bert")))


def card(path: Path, source: Checkpoint, name: str = "mine") -> Any:
    write_model_card(path / "README.md", name, source, GRAPHS, {}, {})
    return ModelCard.load(path / "README.md")


def test_figures_stand_with_their_intervals(source: Checkpoint, tmp_path: Path) -> None:
    text = card(tmp_path, source).text
    for row in (
        "| Masked tokens | 1,234 |",
        "| Mean KL divergence | 0.012 (0.012 to 0.013) |",
        "| Same best token | 94.8% (93.4% to 96.1%) |",
        "| Change of perplexity | +0.12% (-0.40% to +0.70%) |",
        "| Minimal pairs ranked the same | - |",
    ):
        assert row in text


def test_the_limits_are_those_of_the_record(source: Checkpoint, tmp_path: Path) -> None:
    text = card(tmp_path, source).text
    assert f"It is within its limits:\n\n- int8: {Limits(mean_kl=0.005).describe()}\n" in text
    assert "text that was not used to calibrate it" in text


def test_random_tokens_are_no_text_and_have_no_perplexity(source: Checkpoint, tmp_path: Path) -> None:
    entry = GraphEntry("onnx/fp32.onnx", {**without_perplexity(FIGURES), "text": "random tokens"})
    write_model_card(tmp_path / "README.md", "mine", source, {"fp32": entry}, {}, {})
    text = (tmp_path / "README.md").read_text()
    assert "on random tokens, from the shortest text to the longest: no text was given" in text
    assert "| Perplexity | - |" in text
    assert "| Change of perplexity | - |" in text
    assert "| Mean KL divergence | 0.012 (0.012 to 0.013) |" in text
    assert "calibrate" not in text


def test_a_hub_source_is_the_base_model(source: Checkpoint, tmp_path: Path) -> None:
    assert card(tmp_path, source).data.base_model is None
    data = card(tmp_path, replace(source, name="org/name-1.0")).data
    assert (data.base_model, data.pipeline_tag, data.library_name) == ("org/name-1.0", "fill-mask", "maskedge")
    assert {"onnx", "int8", "fill-mask"} <= set(data.tags)


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_shown_as_it_is(source: Checkpoint, tmp_path: Path, name: str) -> None:
    written = card(tmp_path, replace(source, name=name), name)
    assert written.data.license is None
    html = MarkdownIt("commonmark").enable("table").render(written.text)
    shown = " ".join(name.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert html.startswith(f"<h1>{shown}</h1>")
    assert f"made from <code>{shown}</code> (bert)" in html
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("<h1>") == 1


@pytest.mark.parametrize("metadata", ["license: [", "license: mit\n\tx: 1"])
def test_a_source_card_that_cannot_be_read_is_named(
    make_checkpoint: Callable[..., Path], source: Checkpoint, tmp_path: Path, metadata: str
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text(f"---\n{metadata}\n---\n# Source\n")
    with pytest.raises(CheckpointError, match=r"metadata of .*README\.md cannot be read"):
        card(tmp_path, replace(source, path=tmp_path / "source"))


def test_a_licence_of_its_own_keeps_its_name_and_link(source: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text(
        "---\nlicense: other\nlicense_name: house-rules\nlicense_link: LICENSE\nlanguage: [en, de]\n---\n# Source\n"
    )
    data = card(tmp_path, replace(source, path=tmp_path / "source")).data
    assert (data.license, data.license_name, data.license_link) == ("other", "house-rules", "LICENSE")
    assert data.language == ["en", "de"]


def test_a_source_card_without_metadata_says_nothing_on_standard_error(
    source: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text("# Source\n\nJust text.\n")
    written = card(tmp_path, replace(source, path=tmp_path / "source"))
    assert "## Source\n\nJust text." in written.text
    assert not caplog.records
