"""The standard graphs say what transformers says of padded batches, and nothing of the padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard

from maskedge.bundle import Bundle, file_sha256
from maskedge.engine import OnnxGraph
from maskedge_export.bundling import ExportOptions, export_bundle
from maskedge_export.calibration import Batch
from maskedge_export.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoder import Encoder
from maskedge_export.errors import GateError, UnsupportedModelError
from maskedge_export.standard import save_standard, save_standard_graphs, standard_logprobs
from maskedge_export.verification import graph_logprobs

TEXTS = ["The river flows.", "A novel is longer than a short story, as everybody knows.", "Six"]
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def session(fp32_bundle: Path, loaded: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The standard fp32 graph of each family."""
    directory = tmp_path_factory.mktemp("standard")
    (directory / "onnx").mkdir()
    save_standard_graphs(loaded, directory, {"fp32": str(fp32_bundle / "onnx" / "fp32.onnx")})
    return onnxruntime.InferenceSession(directory / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def bert_bundle(
    checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle with every graph there is."""
    out = tmp_path_factory.mktemp("bundles") / "with-standard"
    options = ExportOptions("both", (few_sentences,), gate=False, standard=True)
    export_bundle(str(checkpoints("bert")), out, options)
    return out


def run(session: Any, encoded: Any) -> Any:
    """Logits [batch, sequence, vocabulary]."""
    names = [value.name for value in session.get_inputs()]
    return session.run(["logits"], {name: encoded[name].numpy() for name in names})[0]


@torch.no_grad()
def transformers_logits(source: Checkpoint, encoded: Any) -> Any:
    return source.model(**encoded).logits.numpy()


def test_logits_of_a_padded_batch_are_those_of_transformers(session: Any, loaded: Checkpoint) -> None:
    encoded = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert int(encoded["attention_mask"].sum()) < encoded["attention_mask"].numel()  # there is padding
    text = encoded["attention_mask"].numpy().astype(bool)
    difference = np.abs(run(session, encoded) - transformers_logits(loaded, encoded))[text]
    assert difference.max() < 1e-4


def test_padding_changes_no_text(session: Any, loaded: Checkpoint) -> None:
    """On the left only where positions are counted from the text's first token, as transformers counts them too."""
    counted = loaded.model_type in ("roberta", "xlm-roberta", "camembert")
    alone = run(session, loaded.tokenizer(TEXTS[:1], return_tensors="pt"))[0]
    for side in ("left", "right") if counted else ("right",):
        padded = loaded.tokenizer.pad(
            loaded.tokenizer(TEXTS[:1]), padding="max_length", max_length=30, padding_side=side, return_tensors="pt"
        )
        text = padded["attention_mask"].numpy().astype(bool)
        np.testing.assert_allclose(run(session, padded)[text], alone, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 47, 48])
def test_every_length_and_batch_gives_numbers(session: Any, loaded: Checkpoint, length: int) -> None:
    ids = torch.full((4, length), 7)
    mask = torch.ones_like(ids)
    mask[1, : length // 2] = 0
    mask[2] = 0
    encoded = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    logits = run(session, encoded)
    assert logits.shape[:2] == (4, length)
    assert np.isfinite(logits).all()


def test_token_types_are_those_of_transformers(checkpoints: Callable[[str], Path], bert_bundle: Path) -> None:
    source = load_checkpoint(str(checkpoints("bert")))
    session = onnxruntime.InferenceSession(bert_bundle / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    encoded = source.tokenizer(TEXTS[::2], TEXTS[::-2], padding=True, return_tensors="pt")
    assert encoded["token_type_ids"].max() == 1
    text = encoded["attention_mask"].numpy().astype(bool)
    expected = transformers_logits(source, encoded)
    np.testing.assert_allclose(run(session, encoded)[text], expected[text], atol=1e-4)
    untyped = {**encoded, "token_type_ids": torch.zeros_like(encoded["token_type_ids"])}
    assert np.abs(run(session, untyped)[text] - expected[text]).max() > 0.1


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_int8_predicts_what_the_scoring_graph_predicts(
    family: str, int8_bundles: Callable[[str], Path], masked_ids: Callable[..., Any], tmp_path: Path
) -> None:
    """They differ in their last bits, which now and then move an activation to the next of its 256 levels."""
    scoring = int8_bundles(family) / "onnx" / "int8.onnx"
    vocab_size = Bundle.open(int8_bundles(family)).manifest.vocab_size
    save_standard(scoring, tmp_path / "model_quantized.onnx", None)
    ids, positions = (value.numpy() for value in masked_ids(vocab_size, masks=1))
    batch = Batch(ids, positions, np.zeros_like(positions))
    expected = graph_logprobs(OnnxGraph(scoring), vocab_size)(batch)
    actual = standard_logprobs(tmp_path / "model_quantized.onnx", 0, 48)(batch)
    assert np.abs(actual - expected).max() < 0.1
    assert np.abs(actual - expected).mean() < 0.01


def test_inputs_outputs_and_names_are_the_ecosystem_s(bert_bundle: Path) -> None:
    manifest = Bundle.open(bert_bundle).manifest
    files = {precision: entry.file for precision, entry in manifest.standard.items()}
    assert files == {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
    for entry in manifest.standard.values():
        graph = onnx.load(bert_bundle / entry.file).graph
        shapes = {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }
        texts = ["batch", "sequence"]
        assert shapes == {
            "input_ids": texts,
            "attention_mask": texts,
            "token_type_ids": texts,
            "logits": [*texts, manifest.vocab_size],
        }
        assert list(entry.inputs) == ["input_ids", "attention_mask", "token_type_ids"]
        assert not any(tensor.external_data for tensor in graph.initializer)  # a browser loads one file


def test_the_manifest_and_the_card_hold_their_proof(bert_bundle: Path) -> None:
    manifest = Bundle.open(bert_bundle).manifest
    fp32, int8 = (manifest.standard[precision].verification for precision in ("fp32", "int8"))
    assert (fp32["reference"], int8["reference"]) == ("PyTorch", "onnx/model.onnx")
    assert fp32["max_logprob_difference"] < 1e-3
    assert int8["mean_kl"] > fp32["mean_kl"]
    scoring = manifest.graphs["int8"].verification
    assert int8["mean_kl"] == pytest.approx(scoring["mean_kl"], rel=0.2)
    card = ModelCard.load(bert_bundle / "README.md")
    assert "| model.onnx | model_quantized.onnx |" in card.text
    assert {"transformers.js", "optimum"} <= set(card.data.tags)


def test_a_bundle_without_them_is_as_before(int8_bundle: Path) -> None:
    assert Bundle.open(int8_bundle).manifest.standard == {}
    assert sorted(path.name for path in (int8_bundle / "onnx").glob("model*")) == []


def test_the_scoring_graphs_are_the_same_with_and_without_them(
    bert_bundle: Path, int8_bundles: Callable[[str], Path]
) -> None:
    for name in ("fp32.onnx", "int8.onnx", "int8.onnx.data"):
        assert file_sha256(bert_bundle / "onnx" / name) == file_sha256(int8_bundles("bert") / "onnx" / name)


def test_outside_the_limits_nothing_is_written(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that lets texts see their padding is found out."""
    monkeypatch.setattr("maskedge_export.standard._hide_padding", lambda model: None)
    options = ExportOptions("fp32", standard=True)
    with pytest.raises(GateError, match="fp32: largest log-probability difference is"):
        export_bundle(str(checkpoints("bert")), tmp_path / "out", options)
    assert not list(tmp_path.iterdir())


def test_attention_without_a_mask_is_refused(fp32_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32_bundle / "onnx" / "fp32.onnx")
    for node in model.graph.node:
        if node.op_type == "Attention":
            node.op_type = "MultiHeadAttention"
    onnx.save(model, tmp_path / "fp32.onnx")
    with pytest.raises(UnsupportedModelError, match="no standard graph"):
        save_standard(tmp_path / "fp32.onnx", tmp_path / "model.onnx", None)


def test_the_encoder_is_native(loaded: Checkpoint) -> None:
    """Only such graphs have one node for each attention."""
    assert isinstance(loaded.encoder, Encoder)
