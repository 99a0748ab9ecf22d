"""The README's figures are those that commands of this repository wrote."""

import json
import re
from pathlib import Path

import pytest

from maskedge import Predictor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_an_export_costs_what_was_measured() -> None:
    costs = json.loads((ROOT / "docs" / "results" / "export_cost.json").read_text(encoding="utf-8"))
    told = " ".join(README.split())

    assert f"On {costs['cores']} CPUs a BERT-base takes {costs['fp32']['seconds']:.0f} s to export as fp32" in told
    assert f"and {costs['int8']['seconds'] / 60:.1f} minutes as int8, calibrated on sentences" in told
    assert f"on paragraphs {costs['int8, paragraphs']['seconds'] / 60:.1f} minutes" in told
    exports = (cost for cost in costs.values() if isinstance(cost, dict))
    assert f"up to {max(cost['times_checkpoint'] for cost in exports):.1f} times its fp32 size" in told


def test_transcript_shows_the_bundled_model() -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="the batch extra is not installed")
    rows = pq.read_table(ROOT / "examples" / "masked_sentences.parquet").num_rows

    assert re.search(rf"\d+ of {rows}\b", README)
    assert Predictor.load().name in README


def test_the_bundled_model_is_told_with_its_proof() -> None:
    figures = next(iter(Predictor.load().bundle.manifest.graphs.values())).verification

    assert f"on {100 * figures['top1_agreement']:.1f} % of {figures['cells']:,} masks" in " ".join(README.split())
    assert f"a mean KL divergence of {figures['mean_kl']:.1g} nats" in " ".join(README.split())


def test_the_model_s_card_has_the_comparison_s_figures() -> None:
    card = " ".join((ROOT / "checkpoints" / "english-minilm" / "README.md").read_text(encoding="utf-8").split())
    found = json.loads((ROOT / "docs" / "results" / "default_model.json").read_text(encoding="utf-8"))
    own, before = (model["word_perplexity"] for model in found["models"])
    low, high = (100 * end for end in found["ratio_interval"])

    assert f"On {found['words']:,} words" in card
    assert f"word perplexity is {own:.0f}, and that of the model bundled before {before:.0f}" in card
    assert f"{100 * found['ratio']:.0f} % of it (95 % interval {low:.0f} to {high:.0f} %)" in card
