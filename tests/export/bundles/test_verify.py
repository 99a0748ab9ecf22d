"""`mlm-export verify` finds what the export found, and what has changed since."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from tokenizers import Tokenizer, normalizers
from typer.testing import CliRunner

from maskedge.bundle.format import Bundle
from maskedge.errors import BundleCorruptError
from maskedge_export.bundles.verify import Proof, verify_bundle
from maskedge_export.cli.app import app
from maskedge_export.errors import CalibrationTextError, CheckpointError
from maskedge_export.evaluation.gate import GATE, Limits

pytestmark = pytest.mark.slow

LOOSE = {"fp32": GATE["fp32"], "int8": Limits()}


@pytest.fixture(scope="module")
def bert(checkpoints: Callable[[str], Path]) -> str:
    return str(checkpoints("bert"))


@pytest.fixture(scope="module")
def bundle(int8_bundles: Callable[[str], Path]) -> Bundle:
    return Bundle.open(int8_bundles("bert"))


@pytest.fixture(scope="module")
def proofs(bundle: Bundle, bert: str, few_sentences: Path) -> list[Proof]:
    return verify_bundle(bundle, bert, [few_sentences], LOOSE)


def test_the_figures_are_those_of_the_export(bundle: Bundle, proofs: list[Proof]) -> None:
    """On the export's own text, whose held-out half is found again; int8 was compared with fp32 then."""
    assert [proof.file for proof in proofs] == [entry.file for entry in bundle.manifest.graphs.values()]
    for proof, entry in zip(proofs, bundle.manifest.graphs.values(), strict=True):
        now, then = proof.comparison.as_dict(), entry.verification
        assert now["cells"] == then["cells"]
        assert now["mean_kl"] == pytest.approx(then["mean_kl"], rel=1e-2, abs=1e-6)
        assert now["top1_agreement"] == pytest.approx(then["top1_agreement"], abs=0.01)
        assert now["candidate_perplexity"] == pytest.approx(then["candidate_perplexity"], rel=1e-4)


def test_attention_differs_as_it_did_at_the_export(bundle: Bundle, proofs: list[Proof]) -> None:
    for proof, entry in zip(proofs, bundle.manifest.attention.values(), strict=True):
        assert proof.attention is not None
        assert proof.attention.max_difference == pytest.approx(entry.verification["max_difference"], rel=0.5, abs=1e-6)
        assert proof.attention.texts == entry.verification["texts"]


def test_each_failing_figure_is_named(bundle: Bundle, bert: str, few_sentences: Path) -> None:
    strict = {"fp32": Limits(logprob_difference=-1), "int8": Limits(mean_kl=-1)}
    int8, fp32 = verify_bundle(bundle, bert, [few_sentences], strict)
    assert any(failure.startswith("mean KL divergence is") for failure in int8.failures)
    assert any(failure.startswith("largest log-probability difference is") for failure in fp32.failures)


def test_a_bundle_that_reads_text_otherwise_is_named(
    bundle: Bundle, bert: str, few_sentences: Path, tmp_path: Path
) -> None:
    """Its graphs may say what PyTorch does, of the same wrong ids."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.save(str(copy / "tokenizer.json"))
    unlike = Bundle.open(copy, verify=False)
    with pytest.raises(CheckpointError, match=r"tokenizer.json does not read text as the tokenizer of .* of 'The "):
        verify_bundle(unlike, bert, [few_sentences], LOOSE)


def test_a_changed_weight_is_found(bundle: Bundle, bert: str, few_sentences: Path, tmp_path: Path) -> None:
    """What hashes cannot tell: a bundle that is whole, and wrong."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    model = onnx.load(copy / "onnx" / "fp32.onnx")
    table = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    table.CopyFrom(onnx.numpy_helper.from_array(1.1 * onnx.numpy_helper.to_array(table), table.name))
    onnx.save(model, copy / "onnx" / "fp32.onnx")
    (fp32,) = [
        proof
        for proof in verify_bundle(Bundle.open(copy, verify=False), bert, [few_sentences], LOOSE)
        if proof.file == "onnx/fp32.onnx"
    ]
    assert fp32.failures


def test_another_checkpoint_is_refused_unless_allowed(
    bundle: Bundle, make_checkpoint: Callable[..., Path], few_sentences: Path, tmp_path: Path
) -> None:
    other = str(make_checkpoint("bert", tmp_path / "other", intermediate_size=32))
    with pytest.raises(CheckpointError, match=r"is not the checkpoint .* --other-checkpoint"):
        verify_bundle(bundle, other, [few_sentences], LOOSE)
    proofs = verify_bundle(bundle, other, [few_sentences], LOOSE, other_checkpoint=True)
    assert any(proof.failures for proof in proofs)


def test_missing_text_is_named(bundle: Bundle, bert: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationTextError, match=r"none\.txt does not exist"):
        verify_bundle(bundle, bert, [tmp_path / "none.txt"], LOOSE)


def test_empty_text_is_refused(bundle: Bundle, bert: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CalibrationTextError, match=r"there is no text in .*empty\.txt"):
        verify_bundle(bundle, bert, [tmp_path / "empty.txt"], LOOSE)


# The command


def verify(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def test_the_command_exits_0_where_all_is_within_the_limits(bundle: Bundle, bert: str, few_sentences: Path) -> None:
    limits = ("--max-kl", 10, "--min-top1", 0, "--max-perplexity-change", 10, "--min-pairs", 0)
    ran = verify(bundle.path, bert, "--text", few_sentences, *limits)
    assert ran.exit_code == 0, ran.output
    assert "Mean KL divergence" in ran.stdout


def test_the_command_exits_1_and_names_the_figure(bundle: Bundle, bert: str, few_sentences: Path) -> None:
    ran = verify(bundle.path, bert, "--text", few_sentences, "--max-kl", 0)
    assert ran.exit_code == 1
    assert "onnx/int8.onnx: mean KL divergence is" in ran.stderr
    assert "above its limit of 0 (--max-kl)" in ran.stderr


def test_the_limit_of_fp32_has_a_flag(bundle: Bundle, bert: str, few_sentences: Path) -> None:
    loose = ("--max-kl", 10, "--min-top1", 0, "--max-perplexity-change", 10, "--min-pairs", 0)
    ran = verify(bundle.path, bert, "--text", few_sentences, *loose, "--max-difference", 0)
    assert ran.exit_code == 1
    assert "onnx/fp32.onnx: largest log-probability difference is" in ran.stderr
    assert "(--max-difference)" in ran.stderr


def test_the_command_names_an_altered_file(bundle: Bundle, bert: str, few_sentences: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    (copy / "onnx" / "int8.onnx.data").write_bytes(b"")
    ran = verify(copy, bert, "--text", few_sentences)
    assert isinstance(ran.exception, BundleCorruptError)  # which main() shows as one line
    assert "int8.onnx.data was altered" in str(ran.exception)
