"""The standard graphs say what transformers says of padded batches, and nothing of the padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard

from maskedge.bundle.engine import OnnxGraph
from maskedge.bundle.format import Bundle, file_sha256
from maskedge_export.bundles import export as bundling
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.bundles.verify import verify_bundle
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.wrapped import WrappedEncoder
from maskedge_export.errors import GateError, UnsupportedModelError
from maskedge_export.evaluation.gate import GATE
from maskedge_export.evaluation.logprobs import graph_logprobs, standard_logprobs, standard_reference
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.graphs.optimum import (
    FP32_FILE,
    QUANTIZED_FILE,
    save_standard,
    save_standard_graphs,
    standard_files,
    token_types,
)
from maskedge_export.graphs.scoring_outputs import add_scoring_outputs

pytestmark = pytest.mark.slow

TEXTS = ["The river flows.", "A novel is longer than a short story, as everybody knows.", "Six"]
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def session(fp32_bundle: Path, loaded: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The standard fp32 graph of each family."""
    directory = tmp_path_factory.mktemp("standard")
    (directory / "onnx").mkdir()
    save_standard_graphs(token_types(loaded), directory, {"fp32": str(fp32_bundle / "onnx" / "fp32.onnx")})
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
    family: str,
    checkpoints: Callable[[str], Path],
    int8_bundles: Callable[[str], Path],
    masked_ids: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """They differ in their last bits, which now and then move an activation to the next of its 256 levels."""
    scoring = int8_bundles(family) / "onnx" / "int8.onnx"
    source = load_checkpoint(str(checkpoints(family)))
    save_standard(scoring, tmp_path / "model_quantized.onnx", None)
    ids, positions = (value.numpy() for value in masked_ids(source.vocab_size, masks=1))
    batch = MaskedBatch(ids, positions, np.zeros_like(positions))
    (expected,) = graph_logprobs(OnnxGraph(scoring), source.vocab_size)([batch])
    (actual,) = standard_logprobs(tmp_path / "model_quantized.onnx", source)([batch])
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


def test_one_quantized_graph_has_the_name_that_others_know() -> None:
    """The first of those with 8-bit activations, whichever others there are."""
    assert standard_files(["fp32", "int8-avx2"]) == {"fp32": FP32_FILE, "int8-avx2": QUANTIZED_FILE}
    assert standard_files(["fp32", "int4-weights", "int8", "int8-avx2"]) == {"fp32": FP32_FILE, "int8": QUANTIZED_FILE}


def test_the_manifest_and_the_card_hold_their_proof(bert_bundle: Path) -> None:
    manifest = Bundle.open(bert_bundle).manifest
    fp32, int8 = (manifest.standard[precision].verification for precision in ("fp32", "int8"))
    assert (fp32["reference"], int8["reference"]) == ("PyTorch", "onnx/model.onnx")
    assert fp32["max_logprob_difference"] < 1e-3
    assert int8["mean_kl"] > fp32["mean_kl"]
    scoring = manifest.graphs["int8"].verification
    assert 0.8 * scoring["mean_kl"] < int8["mean_kl"] < GATE["int8"].mean_kl  # some of its rows have types, too
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
    monkeypatch.setattr("maskedge_export.graphs.optimum._hide_padding", lambda model: None)
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


@pytest.mark.parametrize("vocab_size", [408], ids=["padded head"])
def test_a_head_padded_beyond_the_tokenizer_is_proved_at_the_tokenizer_s_ids(
    vocab_size: int, make_checkpoint: Callable[..., Path], few_sentences: Path, tmp_path: Path
) -> None:
    checkpoint = str(make_checkpoint("bert", tmp_path / "padded", vocab_size=vocab_size))
    assert load_checkpoint(checkpoint).vocab_size == 400
    export_bundle(checkpoint, tmp_path / "bundle", ExportOptions("fp32", standard=True))
    bundle = Bundle.open(tmp_path / "bundle")
    (output,) = onnx.load(bundle.path / "onnx" / "model.onnx").graph.output
    assert output.type.tensor_type.shape.dim[2].dim_value == vocab_size
    proofs = verify_bundle(bundle, checkpoint, [few_sentences], GATE)
    assert [proof.file for proof in proofs] == ["onnx/fp32.onnx", "onnx/model.onnx"]
    assert all(proof.comparison.max_logprob_difference < 1e-4 for proof in proofs)


# Architectures without an encoder of our own


def scoring_graph(source: Checkpoint, directory: Path) -> Path:
    """The scoring graph of a wrapped model, as an export writes it."""
    assert isinstance(source.encoder, WrappedEncoder)
    graph = encoder_graph(source.encoder)
    add_scoring_outputs(graph, source.vocab_size)
    ir.save(graph, directory / "fp32.onnx")
    return directory / "fp32.onnx"


@pytest.mark.parametrize(
    ("family", "options"),
    [("layoutlm", {}), ("bert", {"hidden_act": "quick_gelu"})],
    ids=["a mask that is added to the scores", "no mask of its own"],
)
def test_a_wrapped_model_hides_padding_and_knows_types(
    family: str, options: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    source = load_checkpoint(str(make_checkpoint(family, tmp_path / family, **options)))
    save_standard(scoring_graph(source, tmp_path), tmp_path / "model.onnx", token_types(source))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    encoded = source.tokenizer(TEXTS[:2], TEXTS[:1] * 2, padding=True, return_tensors="pt")
    text = encoded["attention_mask"].numpy().astype(bool)
    assert not text.all()
    assert encoded["token_type_ids"].max() == 1
    np.testing.assert_allclose(run(session, encoded)[text], transformers_logits(source, encoded)[text], atol=1e-4)
    assert np.isfinite(run(session, encoded)).all()


def test_a_mask_of_another_type_is_refused_by_its_name(fp32_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32_bundle / "onnx" / "fp32.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Attention")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1), np.float16), "half_mask"))
    node.input[:] = [*node.input[:3], "half_mask"]
    onnx.save(model, tmp_path / "fp32.onnx")
    with pytest.raises(UnsupportedModelError, match=r"no standard graph, since .* mask of type FLOAT16, half_mask"):
        save_standard(tmp_path / "fp32.onnx", tmp_path / "model.onnx", None)


@pytest.mark.parametrize("family", ["bert"], indirect=True, scope="session")
def test_types_that_are_not_added_to_a_norm_alone_are_refused(fp32_bundle: Path, tmp_path: Path) -> None:
    """As of an encoder whose embeddings go on beside their norm: the types would be missing there."""
    model = onnx.load(fp32_bundle / "onnx" / "fp32.onnx")
    first = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    residual = next(node for node in model.graph.node if first.output[0] in node.input and node.op_type == "Add")
    residual.input[list(residual.input).index(first.output[0])] = first.input[0]
    onnx.save(model, tmp_path / "fp32.onnx")
    with pytest.raises(UnsupportedModelError, match="no standard graph, since its tokens' embeddings are not added up"):
        save_standard(tmp_path / "fp32.onnx", tmp_path / "model.onnx", np.ones((2, 32), np.float32))


def test_wrong_types_are_found_out(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof's rows have types other than 0, with which a graph that reads none of them disagrees."""
    save = save_standard_graphs
    monkeypatch.setattr(
        bundling, "save_standard_graphs", lambda types, *rest: save(None if types is None else 0 * types, *rest)
    )
    with pytest.raises(GateError, match="fp32: largest log-probability difference is"):
        export_bundle(str(checkpoints("bert")), tmp_path / "out", ExportOptions("fp32", standard=True))


def test_a_row_of_the_proof_has_its_types_in_every_batch(
    checkpoints: Callable[[str], Path], masked_ids: Callable[..., Any]
) -> None:
    source = load_checkpoint(str(checkpoints("bert")))
    ids, positions = (value.numpy() for value in masked_ids(source.vocab_size, batch=6, masks=1))
    rows = [MaskedBatch(ids[row : row + 1], positions[row : row + 1], positions[row : row + 1]) for row in range(6)]
    (together,) = standard_reference(source)([MaskedBatch(ids, positions, positions)])
    np.testing.assert_allclose(np.concatenate(list(standard_reference(source)(rows))), together, atol=1e-5)


def test_an_architecture_without_them_is_refused_before_it_is_quantized(
    make_checkpoint: Callable[..., Path], few_sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = str(make_checkpoint("fnet", tmp_path / "fnet"))
    monkeypatch.setattr(bundling, "quantized_graphs", lambda *_: pytest.fail("it was quantized"))
    with pytest.raises(UnsupportedModelError, match="no standard graph, since its attention is no single operator"):
        export_bundle(checkpoint, tmp_path / "out", ExportOptions("int8", (few_sentences,), standard=True))
    assert not (tmp_path / "out").exists()


def test_the_encoder_is_native(loaded: Checkpoint) -> None:
    """Only such graphs have one node for each attention."""
    assert isinstance(loaded.encoder, Encoder)
