"""What the export room's tests share: tiny checkpoints of every family, made with transformers, and their exports."""

import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import (
    AddedToken,
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

from maskedge_export.bundling import ExportOptions, export_bundle
from maskedge_export.checkpoint import Checkpoint, load_checkpoint

SENTENCES = Path(__file__).parents[2] / "examples" / "sentences.txt"
MAX_LENGTH = 48
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
DISTILBERT_SIZES = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
FAMILIES = {
    "bert": (transformers.BertForMaskedLM, {**SIZES, "max_position_embeddings": MAX_LENGTH}),
    "roberta": (transformers.RobertaForMaskedLM, {**SIZES, "max_position_embeddings": MAX_LENGTH + 2}),
    "xlm-roberta": (transformers.XLMRobertaForMaskedLM, {**SIZES, "max_position_embeddings": MAX_LENGTH + 2}),
    "camembert": (transformers.CamembertForMaskedLM, {**SIZES, "max_position_embeddings": MAX_LENGTH + 2}),
    "distilbert": (transformers.DistilBertForMaskedLM, {**DISTILBERT_SIZES, "max_position_embeddings": MAX_LENGTH}),
    "modernbert": (
        transformers.ModernBertForMaskedLM,
        {
            **SIZES,
            "max_position_embeddings": MAX_LENGTH,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
        },
    ),
}

MakeModel = Callable[..., transformers.PreTrainedModel]
MakeCheckpoint = Callable[..., Path]
MaskedIds = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(autouse=True, scope="module")
def _no_network() -> Iterator[None]:
    """Whoever opens a connection fails."""

    def connect(_: socket.socket, address: object) -> None:
        raise AssertionError(f"a test connects to {address}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models so small only lose by being divided."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sentences() -> Path:
    """English sentences, one a line."""
    return SENTENCES


@pytest.fixture(scope="session")
def few_sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough of them to calibrate an int8 graph and to verify it, and no more than that."""
    file = tmp_path_factory.mktemp("texts") / "few.txt"
    file.write_text("\n".join(SENTENCES.read_text(encoding="utf-8").splitlines()[:80]), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def max_length() -> int:
    """Longest text of the tiny models, tokens."""
    return MAX_LENGTH


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Makes a family's model, with weights large enough for its predictions to differ from place to place."""

    def make(family: str, **options: Any) -> transformers.PreTrainedModel:
        tokenizer = _tokenizer(family)
        model_class, sizes = FAMILIES[family]
        config = model_class.config_class(
            **{"vocab_size": len(tokenizer), **_special_ids(tokenizer), **sizes, **options}
        )
        torch.manual_seed(0)
        model = model_class(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        return model

    return make


@pytest.fixture(scope="session")
def make_checkpoint(make_model: MakeModel) -> MakeCheckpoint:
    """Saves a family's model and tokenizer in a directory."""

    def make(family: str, directory: Path, **options: Any) -> Path:
        make_model(family, **options).save_pretrained(directory)
        _tokenizer(family).save_pretrained(directory)
        return directory

    return make


@pytest.fixture(scope="session")
def checkpoints(make_checkpoint: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a family, made once."""
    return cache(lambda family: make_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / f"tiny-{family}"))


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each of the supported families in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def checkpoint(family: str, checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints(family)


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(str(checkpoint))


@pytest.fixture(scope="session")
def fp32_bundle(family: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's checkpoint exported without calibration text."""
    out = tmp_path_factory.mktemp("bundles") / family
    export_bundle(str(checkpoint), out, ExportOptions(precision="fp32"))
    return out


@pytest.fixture(scope="session")
def int8_bundles(
    checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A family's bundle with both graphs, made once; random weights need not pass the gate."""

    def export(family: str) -> Path:
        out = tmp_path_factory.mktemp("bundles") / f"{family}-int8"
        export_bundle(str(checkpoints(family)), out, ExportOptions("both", (few_sentences,), gate=False))
        return out

    return cache(export)


@pytest.fixture(scope="session", params=["bert", "modernbert"])
def int8_bundle(request: pytest.FixtureRequest, int8_bundles: Callable[[str], Path]) -> Path:
    """A bundle with both graphs: of a post-norm encoder with biases, and of a pre-norm one without."""
    return int8_bundles(request.param)


@pytest.fixture(scope="session")
def masked_ids() -> MaskedIds:
    """Random texts [batch, length] and their mask positions [batch, masks]."""

    def make(vocab_size: int, *, batch: int = 3, length: int = 12, masks: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(length)
        ids = torch.randint(5, vocab_size, (batch, length), generator=generator)
        positions = torch.stack([torch.randperm(length, generator=generator)[:masks] for _ in range(batch)])
        return ids, positions

    return make


def _special_ids(tokenizer: Any) -> dict[str, int | None]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }


@cache
def _tokenizer(family: str) -> Any:
    """A tokenizer of the family's kind, trained on the example sentences."""
    if family == "roberta":
        return _byte_level_bpe()
    return _unigram() if family in ("xlm-roberta", "camembert") else _word_piece()


def _word_piece() -> Any:
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train([str(SENTENCES)], vocab_size=400, show_progress=False)
    return transformers.BertTokenizerFast(vocab=trained.get_vocab(), model_max_length=MAX_LENGTH)


def _byte_level_bpe() -> Any:
    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train([str(SENTENCES)], vocab_size=500, special_tokens=specials, show_progress=False)
    trained.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, **_roberta_specials())


def _unigram() -> Any:
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.decoder = decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False)
    trained.train([str(SENTENCES)], trainer)
    trained.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=trained, **_roberta_specials())


def _roberta_specials() -> dict[str, Any]:
    return {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": AddedToken("<mask>", lstrip=True, special=True),
        "model_max_length": MAX_LENGTH,
    }
