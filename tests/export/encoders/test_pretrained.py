"""Native encoders as Hugging Face checkpoints: nothing is lost on the way there and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from maskedge_export.corpora.tokenizer import train_tokenizer
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.families import checkpoint_weights, native_encoder
from maskedge_export.encoders.pretrained import TrainedModel, new_model
from maskedge_export.recipe import ModelRecipe, TokenizerRecipe

MaskedIds = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def make_trained(sentences: Path) -> Callable[[str, str], TrainedModel]:
    def make(layout: Any, kind: Any) -> TrainedModel:
        texts = [(text,) for text in sentences.read_text(encoding="utf-8").splitlines()]
        tokenizer = train_tokenizer(lambda: texts, TokenizerRecipe(kind=kind, vocab_size=320, min_frequency=1), 48)
        torch.manual_seed(0)
        sizes = ModelRecipe(layout, 32, num_layers=3, num_heads=4, intermediate_size=48, max_length=48)
        model = new_model(sizes, tokenizer)
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        return model

    return make


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "word"])
@pytest.mark.parametrize("layout", ["bert", "modernbert"])
def test_transformers_loads_what_training_writes_and_gives_the_same_logits(
    layout: str, kind: str, make_trained: Callable[[str, str], TrainedModel], tmp_path: Path
) -> None:
    trained = make_trained(layout, kind)
    trained.save(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.model_type == layout
    text = f"The sun is {tokenizer.mask_token} and the sea is cold."
    encoded = tokenizer(text, return_tensors="pt")
    assert encoded["input_ids"].tolist() == trained.tokenizer(text, return_tensors="pt")["input_ids"].tolist()
    with torch.no_grad():
        expected = model(**encoded).logits
        everywhere = torch.arange(expected.shape[1])[None]
        actual = trained.encoder(encoded["input_ids"], everywhere)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    assert tokenizer.model_max_length == 48


@pytest.mark.parametrize("layout", ["bert", "modernbert"])
def test_a_saved_encoder_loads_bit_for_bit(
    layout: str, make_trained: Callable[[str, str], TrainedModel], tmp_path: Path
) -> None:
    trained = make_trained(layout, "wordpiece")
    trained.save(tmp_path / "model")
    loaded = load_checkpoint(str(tmp_path / "model")).encoder.state_dict()
    saved = trained.encoder.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_half_precision_takes_half_the_space_and_is_loaded_as_fp32(
    make_trained: Callable[[str, str], TrainedModel], tmp_path: Path
) -> None:
    trained = make_trained("modernbert", "wordpiece")
    trained.save(tmp_path / "full")
    trained.round_weights(torch.float16)
    trained.save(tmp_path / "half", torch.float16)
    full, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "half")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    loaded = load_checkpoint(str(tmp_path / "half")).encoder.state_dict()
    assert all(torch.equal(weight, loaded[name]) for name, weight in trained.encoder.state_dict().items())


def test_a_family_s_weights_there_and_back(family: str, loaded: Checkpoint, masked_ids: MaskedIds) -> None:
    assert isinstance(loaded.encoder, Encoder)
    weights = checkpoint_weights(loaded.encoder, family)
    again = native_encoder(loaded.model.config, weights)
    ids, positions = masked_ids(loaded.encoder.config.vocab_size)
    with torch.no_grad():
        assert torch.equal(again(ids, positions), loaded.encoder(ids, positions))
    shapes = {name: tensor.shape for name, tensor in loaded.model.state_dict().items()}
    assert all(shapes[name] == tensor.shape for name, tensor in weights.items())


def test_a_model_of_another_family_is_saved_with_the_same_logits(
    family: str, loaded: Checkpoint, masked_ids: MaskedIds, tmp_path: Path
) -> None:
    assert isinstance(loaded.encoder, Encoder)
    TrainedModel(loaded.encoder, loaded.model.config, loaded.tokenizer).save(tmp_path / "model")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    ids, _ = masked_ids(loaded.encoder.config.vocab_size)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, loaded.model(ids).logits, atol=1e-5, rtol=1e-5)
