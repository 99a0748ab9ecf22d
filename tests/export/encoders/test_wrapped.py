"""What has no native encoder is exported as transformers has it, and says the same, or is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import transformers
from tiny_families import GENERIC, MAX_LENGTH, NATIVE, REFUSED, make_model, save_checkpoint
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from maskedge import Predictor
from maskedge.bundle.padding import UNPADDED
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.pretrained import trainable
from maskedge_export.encoders.wrapped import WrappedEncoder, check_sizes
from maskedge_export.errors import UnsupportedModelError
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.training.adaptation import adapt, adaptation_recipe
from maskedge_export.training.trainer import TrainingOptions

pytestmark = pytest.mark.slow

TOLERANCE = 1e-3  # nats

EACH_ITS_OWN_WAY = [
    "bart",
    "big_bird",
    "convbert",
    "deberta-v2",
    "esm",
    "fnet",
    "layoutlm",
    "mobilebert",
    "mpnet",
    "nystromformer",
    "perceiver",
    "xlm",
    "yoso",
]
"""Those whose attention, positions, convolutions or heads differ; benchmarks/families.py exports all the others too."""

TEXTS, LENGTHS, MASKS = (1, 2, 5), (3, 8, 21, MAX_LENGTH), (1, 3)


@torch.no_grad()
def torch_logprobs(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What transformers says [batch, masks, vocabulary], nats."""
    logits = model(ids, attention_mask=torch.ones_like(ids)).logits
    at_masks = torch.stack([row[at] for row, at in zip(logits, positions, strict=True)])
    return torch.log_softmax(at_masks.double(), -1)


def session_of(graph: ir.Model, directory: Path) -> onnxruntime.InferenceSession:
    ir.save(graph, directory / "graph.onnx")
    return onnxruntime.InferenceSession(directory / "graph.onnx")


def logprobs_of(session: onnxruntime.InferenceSession, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "mask_positions": positions.numpy()})
    return torch.log_softmax(torch.from_numpy(logits).double(), -1)


@pytest.mark.parametrize("family", EACH_ITS_OWN_WAY, scope="function")
def test_graph_says_what_transformers_says_at_every_size(
    family: str, masked_ids: Callable[..., Any], tmp_path: Path
) -> None:
    model = make_model(family)
    encoder = WrappedEncoder(model)
    session = session_of(encoder_graph(encoder), tmp_path)
    lengths = [length for length in LENGTHS if length <= encoder.config.max_length]
    assert len(lengths) >= 3
    for batch, length, masks in ((batch, length, masks) for batch in TEXTS for length in lengths for masks in MASKS):
        ids, positions = masked_ids(encoder.config.vocab_size, batch=batch, length=length, masks=masks)
        expected, actual = torch_logprobs(model, ids, positions), logprobs_of(session, ids, positions)
        torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0, msg=lambda why: f"{batch, length}: {why}")  # noqa: B023
        assert expected.std() > 0.3  # else equality would say little


REASONS = [
    ("funnel", "FunnelForMaskedLM cannot be exported.*texts of any length.*static shape of 7"),
    ("longformer", "LongformerForMaskedLM cannot be exported.*texts of any length.*data-dependent"),
    ("mra", "MraForMaskedLM cannot be exported: its attention is CUDA code"),
    ("reformer", "ReformerForMaskedLM cannot be exported.*texts of any length"),
]


@pytest.mark.parametrize(("family", "reason"), REASONS, ids=str, scope="function")
def test_what_cannot_be_exported_is_refused_by_name(family: str, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"(?s)^{reason}") as caught:
        encoder_graph(WrappedEncoder(make_model(family)))
    assert len(str(caught.value)) < 600


def test_a_graph_of_one_batch_size_only_is_refused(tmp_path: Path) -> None:
    """MBart looks for the last token of a text with a squeeze, which the tracer takes for a text alone."""
    checkpoint = save_checkpoint("mbart", tmp_path / "mbart")
    with pytest.raises(
        UnsupportedModelError, match=r"MBartForConditionalGeneration cannot be exported: for a batch of"
    ):
        export_bundle(str(checkpoint), tmp_path / "bundle", ExportOptions(precision="fp32"))
    assert not (tmp_path / "bundle").exists()


class Answering:
    """A graph whose answers are the model's own, but for texts of `strange_length`."""

    padding = UNPADDED

    def __init__(self, model: Any, strange_length: int = 0) -> None:
        self.model, self.strange_length = model, strange_length
        self.lengths: set[int] = set()

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> dict[str, Any]:
        ids, positions, asked = (torch.from_numpy(inputs[key]) for key in ("input_ids", "mask_positions", "target_ids"))
        self.lengths.add(ids.shape[1])
        logprobs = torch_logprobs(self.model, ids, positions).gather(-1, asked).numpy()
        return {outputs[0]: logprobs + 0.1 * (ids.shape[1] == self.strange_length)}


def test_every_size_is_compared() -> None:
    model = make_model("megatron-bert")
    encoder = WrappedEncoder(model)
    right = Answering(model)
    check_sizes(right, encoder, encoder.config.vocab_size)
    assert {3, MAX_LENGTH} < right.lengths
    for length in right.lengths:
        with pytest.raises(UnsupportedModelError, match=f"MegatronBertForMaskedLM .* by {length} tokens, .* 0.1 n"):
            check_sizes(Answering(model, length), encoder, encoder.config.vocab_size)


def test_a_model_that_runs_on_other_machines_only_is_refused() -> None:
    """Without its expectation Yoso hashes, which is CUDA code."""
    reason = "YosoForMaskedLM cannot be exported: transformers itself cannot run it on a text of 7 tokens"
    with pytest.raises(UnsupportedModelError, match=reason):
        WrappedEncoder(make_model("yoso", use_expectation=False))


def test_landmarks_that_are_fewer_than_a_segment_are_refused() -> None:
    """transformers' defaults have as many, and attend to everything: those are exported."""
    model = make_model("nystromformer", num_landmarks=4, segment_means_seq_len=MAX_LENGTH)
    with pytest.raises(
        UnsupportedModelError, match=r"NystromformerForMaskedLM .*: transformers itself cannot run .* of 7 tokens"
    ):
        WrappedEncoder(model)


def test_head_runs_at_the_masks_only_where_it_looks_at_each_position_alone() -> None:
    encoder = WrappedEncoder(make_model("megatron-bert"))
    assert encoder.head_at_masks
    widest = [
        value.shape
        for node in encoder_graph(encoder).graph
        for value in node.outputs
        if value.shape and value.shape[-1] == 400
    ]
    assert widest
    assert all(shape[1] == "masks" for shape in widest)
    assert not WrappedEncoder(make_model("perceiver")).head_at_masks


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_stored_once(tied: bool) -> None:
    model = make_model("megatron-bert", tie_word_embeddings=tied)
    initializers = encoder_graph(WrappedEncoder(model)).graph.initializers.values()
    sizes = [int(np.prod(value.shape.numpy())) for value in initializers if value.shape]
    assert sizes.count(400 * 32) == (1 if tied else 2)


def test_longest_text_is_the_configurations_or_what_the_position_table_holds() -> None:
    assert WrappedEncoder(make_model("convbert")).config.max_length == MAX_LENGTH
    assert (
        WrappedEncoder(make_model("mpnet", max_position_embeddings=40)).config.max_length == 38
    )  # its padding has id 1
    assert WrappedEncoder(make_model("modernvbert")).config.max_length == MAX_LENGTH


def test_big_bird_ends_where_it_would_stop_attending_to_everything() -> None:
    model = make_model("big_bird", block_size=2)
    assert WrappedEncoder(model).config.max_length == 14
    assert model.bert.attention_type == "original_full"
    fresh = make_model("big_bird", block_size=2)
    fresh(torch.ones((1, 14), dtype=torch.long))
    assert fresh.bert.attention_type == "original_full"  # as the model itself chooses
    longer = make_model("big_bird", block_size=2)
    longer(torch.ones((1, 16), dtype=torch.long))
    assert longer.bert.attention_type == "block_sparse"


def test_an_option_without_a_native_form_goes_the_generic_way(masked_ids: Callable[..., Any], tmp_path: Path) -> None:
    loaded = load_checkpoint(str(save_checkpoint("bert", tmp_path / "bert", hidden_act="quick_gelu")))
    assert isinstance(loaded.encoder, WrappedEncoder)
    session = session_of(encoder_graph(loaded.encoder), tmp_path)
    ids, positions = masked_ids(loaded.vocab_size, length=31)
    actual, expected = logprobs_of(session, ids, positions), torch_logprobs(loaded.model, ids, positions)
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("deberta-v2", tmp_path_factory.mktemp("checkpoints") / "tiny-deberta")


def test_bundle_answers_as_the_transformers_pipeline(deberta: Path, few_sentences: Path, tmp_path: Path) -> None:
    export_bundle(str(deberta), tmp_path / "bundle", ExportOptions("both", (few_sentences,), gate=False))
    pipeline = transformers.pipeline("fill-mask", model=str(deberta), tokenizer=str(deberta))
    texts = ["The sun is [MASK].", "A [MASK] is longer than a short story."]
    fp32, int8 = (Predictor.load(tmp_path / "bundle", precision=precision) for precision in ("fp32", "int8"))
    for text in texts:
        expected = pipeline(text)
        for theirs, ours in zip(expected, fp32(text), strict=True):
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
            assert (ours["token"], ours["sequence"]) == (theirs["token"], theirs["sequence"])
        assert int8(text)[0]["score"] == pytest.approx(expected[0]["score"], abs=0.2)
    assert int8(texts) != fp32(texts)


def test_training_takes_native_encoders_only(deberta: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(str(deberta))
    assert not isinstance(loaded.encoder, Encoder)
    message = "tiny-deberta is a model of type 'deberta-v2', which can be exported but not trained on"
    with pytest.raises(UnsupportedModelError, match=message):
        trainable(loaded)
    with pytest.raises(UnsupportedModelError, match=message):
        adapt(str(deberta), adaptation_recipe(), TrainingOptions(tmp_path / "run"))


def test_every_family_that_transformers_knows_has_its_row_in_the_documentation() -> None:
    file = Path(__file__).parents[3] / "docs" / "results" / "families.json"
    figures = json.loads(file.read_text(encoding="utf-8"))
    rows = figures["families"]
    if figures["versions"]["transformers"] == transformers.__version__:
        assert set(rows) == set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    assert {name for name, row in rows.items() if row["path"] == "native"} == set(NATIVE)
    assert {name for name, row in rows.items() if row["path"] == "generic"} == set(GENERIC)
    assert {name for name, row in rows.items() if row["reason"]} == set(REFUSED)
    exported = [row for row in rows.values() if row["path"] != "refused"]
    assert max(row["fp32_logprob_difference"] for row in exported) < 1e-3
