"""A Hugging Face checkpoint, from a directory or the Hub: safetensors and JSON only, never pickles or remote code."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from maskedge.bundle.format import file_sha256
from maskedge.bundle.hub import looks_like_path
from maskedge.inference.encoding import TextEncoder
from maskedge_export.encoders.configuration import check_config
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.families import native_encoder
from maskedge_export.encoders.loading import load_model
from maskedge_export.encoders.stored_weights import merge_first
from maskedge_export.encoders.trial import check_alike
from maskedge_export.encoders.wrapped import WrappedEncoder
from maskedge_export.errors import CheckpointError, UnsupportedModelError
from maskedge_export.memory import release_memory
from maskedge_export.source_files import real_file
from maskedge_export.tokenization.loading import load_tokenizer, tokenizer_notes

__all__ = ["Checkpoint", "find_checkpoint", "last_id", "load_checkpoint", "load_encoder", "text_encoder"]

SAFE_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded masked language model."""

    name: str
    path: Path
    model: nn.Module
    """The transformers model, fp32: what an export is compared with."""
    encoder: Encoder | WrappedEncoder
    """The native encoder with the same weights, or, where the architecture has none, the transformers model itself."""
    tokenizer: Any
    """A transformers fast tokenizer."""
    fingerprint: str
    """SHA-256 over the configuration's and the weights' hashes."""
    notes: tuple[str, ...] = ()
    """What whoever exports it should know of it, a line each."""
    lacks_head: bool = False
    """Whether the files lack weights of its head, which is random then."""

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers."""
        return str(self.model.config.model_type)  # type: ignore[union-attr]

    @property
    def vocab_size(self) -> int:
        """Tokens that can be predicted: the head may have more rows, to a round number, that stand for nothing."""
        return min(self.encoder.config.vocab_size, last_id(self.tokenizer) + 1)

    def native(self) -> Encoder:
        """The native encoder. Raises UnsupportedModelError where the architecture has none."""
        if isinstance(self.encoder, Encoder):
            return self.encoder
        raise UnsupportedModelError(
            f"{self.name} is a model of type {self.model_type!r}, which can be exported but not trained on: "
            f"{self.encoder.why}"
        )

    def release(self) -> None:
        """Give the weights' memory back; everything else stays."""
        weights = sum(each.untyped_storage().nbytes() for each in self.model.parameters())
        self.model.to("meta")
        self.encoder.to("meta")
        release_memory(weights)  # what the exporter leaves behind refers to them in circles

    def reloaded(self) -> "Checkpoint":
        """The same with its weights from disk again, after `release`. Raises CheckpointError where they changed."""
        if _fingerprint(self.path) != self.fingerprint:
            raise CheckpointError(f"the files of {self.path} changed while they were exported; export them again")
        model: Any = load_model(self.path).model
        if isinstance(self.encoder, Encoder):
            return replace(self, model=model, encoder=native_encoder(model.config, model.state_dict()))
        return replace(self, model=model, encoder=WrappedEncoder(model, self.encoder.why))

    @property
    def max_length(self) -> int:
        """Longest text in tokens that both the model and its tokenizer take."""
        return min(self.encoder.config.max_length, int(self.tokenizer.model_max_length))

    @property
    def text_encoder(self) -> TextEncoder:
        """What makes token ids of texts for this model."""
        return text_encoder(self.tokenizer, self.max_length)

    @property
    def card(self) -> Path:
        """The checkpoint's model card; need not exist."""
        return self.path / "README.md"


def load_checkpoint(name_or_path: str, *, revision: str | None = None) -> Checkpoint:
    """The checkpoint in a directory, or of a Hub id.

    Args:
        name_or_path: A directory that `save_pretrained` wrote, or `organization/name`.
        revision: Of a Hub checkpoint: a branch, tag or commit; the main branch by default.

    Raises CheckpointError for one that is missing, unsafe, without a tokenizer with a mask token, or whose head is not
    trained, and UnsupportedModelError for an architecture that cannot be exported.
    """
    return _load(name_or_path, revision, headless=False)


def load_encoder(name_or_path: str) -> Checkpoint:
    """The checkpoint of any encoder that has a native form: a sentence encoder, a classifier, a masked language model.

    Args:
        name_or_path: A directory that `save_pretrained` wrote, or `organization/name`.

    Raises CheckpointError for what `load_checkpoint` refuses but for the head, and UnsupportedModelError for an
    architecture without a native encoder.
    """
    checkpoint = _load(name_or_path, None, headless=True)
    checkpoint.native()  # refuses what has none
    return checkpoint


def _load(name_or_path: str, revision: str | None, *, headless: bool) -> Checkpoint:
    path = find_checkpoint(name_or_path, revision=revision)
    _check_files(path)
    check_config(path)
    tokenizer = load_tokenizer(path)  # in a moment, and a model may take minutes
    loaded = load_model(path, headless=headless)
    name = name_or_path if not Path(name_or_path).is_dir() else path.resolve().name
    encoder, notes = _encoder(loaded.model), (*loaded.notes, *tokenizer_notes(path))
    checkpoint = Checkpoint(
        name, path, loaded.model, encoder, tokenizer, _fingerprint(path), notes, lacks_head=loaded.lacks_head
    )
    _check_vocabulary(checkpoint)
    return checkpoint


def _encoder(model: Any) -> Encoder | WrappedEncoder:
    """The native encoder where there is one that says the same, else the model itself, wrapped."""
    try:
        encoder = native_encoder(model.config, model.state_dict())
        check_alike(encoder, model)
    except UnsupportedModelError as error:
        return WrappedEncoder(model, why=str(error))
    return encoder


def _check_vocabulary(checkpoint: Checkpoint) -> None:
    last, rows = last_id(checkpoint.tokenizer), checkpoint.encoder.config.vocab_size
    token = checkpoint.tokenizer.convert_ids_to_tokens(last)
    if last >= rows:
        raise CheckpointError(
            f"the tokenizer of {checkpoint.path} has the id {last} ({token!r}), but the model only {rows} rows; add "
            f"rows with model.resize_token_embeddings({last + 1}), and train them"
        )


def text_encoder(tokenizer: Any, max_length: int | None = None) -> TextEncoder:
    """The runtime's encoder of texts with a transformers fast tokenizer, for texts of at most `max_length` tokens,
    special ones included; by default as many as the tokenizer takes."""
    length = int(tokenizer.model_max_length) if max_length is None else max_length
    return TextEncoder(tokenizer.backend_tokenizer, tokenizer.mask_token, length)


def last_id(tokenizer: Any) -> int:
    """The largest id that a transformers tokenizer gives; ids need not be without gaps."""
    return int(max(tokenizer.get_vocab().values()))


def find_checkpoint(name_or_path: str, *, revision: str | None = None) -> Path:
    """Where a directory's or Hub id's files are; those of the Hub are downloaded. Raises CheckpointError."""
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if looks_like_path(name_or_path):
        raise CheckpointError(f"{name_or_path!r} is neither a directory nor a Hub id such as 'org/name'")
    return _download(name_or_path, revision)


def _download(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=SAFE_FILES))
    except HFValidationError as error:
        raise CheckpointError(f"{repo_id!r} is neither a directory nor a Hub id such as 'org/name'") from error
    except OSError as error:  # the Hub's own errors are OSErrors, and say what to do
        raise CheckpointError(f"{repo_id!r} is no directory here and cannot be had from the Hub: {error}") from error


def _check_files(path: Path) -> None:
    if adapter := next(iter(sorted(path.glob("adapter_*"))), None):
        raise CheckpointError(f"{path} holds an adapter ({adapter.name}); {merge_first('it')}")
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} holds no config.json; give a directory that save_pretrained wrote")
    real_file(path / "config.json")
    if not list(path.glob("*.safetensors")):
        pickles = ", ".join(sorted(file.name for file in path.glob("*.bin"))) or "none"
        raise CheckpointError(
            f"{path} holds no *.safetensors weights (pickled weights, which are never loaded: {pickles}); "
            "convert them with transformers: model.save_pretrained(DIR)"
        )


def _fingerprint(path: Path) -> str:
    files = [path / "config.json", *sorted(path.glob("*.safetensors"))]
    return hashlib.sha256(json.dumps([file_sha256(file) for file in files]).encode()).hexdigest()
