"""A Hugging Face checkpoint, from a directory or the Hub: safetensors and JSON only, never pickles or remote code."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskedge.bundle import file_sha256
from maskedge_export.encoder import Encoder
from maskedge_export.errors import CheckpointError
from maskedge_export.families import family_of, native_encoder

__all__ = ["Checkpoint", "find_checkpoint", "load_checkpoint", "load_tokenizer"]

SAFE_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
TOKENIZER_FILES = ["tokenizer.json", "vocab.txt", "vocab.json", "*.model"]
"""Without any of these transformers makes up a tokenizer of special tokens only."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded masked language model."""

    name: str
    path: Path
    model: nn.Module
    """The transformers model, fp32: what an export is compared with."""
    encoder: Encoder
    """The native encoder with the same weights."""
    tokenizer: Any
    """A transformers fast tokenizer."""
    fingerprint: str
    """SHA-256 over the configuration's and the weights' hashes."""

    @property
    def model_type(self) -> str:
        """The architecture's name in transformers."""
        return str(self.model.config.model_type)  # type: ignore[union-attr]

    @property
    def max_length(self) -> int:
        """Longest text in tokens that both the model and its tokenizer take."""
        return min(self.encoder.config.max_length, int(self.tokenizer.model_max_length))

    @property
    def card(self) -> Path:
        """The checkpoint's model card; need not exist."""
        return self.path / "README.md"


def load_checkpoint(name_or_path: str, *, revision: str | None = None) -> Checkpoint:
    """The checkpoint in a directory, or of a Hub id.

    Raises CheckpointError for one that is missing, unsafe, without a tokenizer with a mask token, or whose head is not
    trained, and UnsupportedModelError for an architecture that cannot be exported.
    """
    path = find_checkpoint(name_or_path, revision=revision)
    _check_files(path)
    _check_model_type(path)
    model = _load_model(path)
    name = name_or_path if not Path(name_or_path).is_dir() else path.resolve().name
    encoder = native_encoder(model.config, model.state_dict())
    return Checkpoint(name, path, model, encoder, load_tokenizer(path), _fingerprint(path))


def find_checkpoint(name_or_path: str, *, revision: str | None = None) -> Path:
    """Where a directory's or Hub id's files are; those of the Hub are downloaded. Raises CheckpointError."""
    path = Path(name_or_path)
    return path if path.is_dir() else _download(name_or_path, revision)


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
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} holds no config.json; give a directory that save_pretrained wrote")
    if not list(path.glob("*.safetensors")):
        pickles = ", ".join(sorted(file.name for file in path.glob("*.bin"))) or "none"
        raise CheckpointError(
            f"{path} holds no *.safetensors weights (pickled weights, which are never loaded: {pickles}); "
            "convert them with transformers: model.save_pretrained(DIR)"
        )
    _check_tokenizer_files(path)


def _check_tokenizer_files(path: Path) -> None:
    if not any(file for pattern in TOKENIZER_FILES for file in path.glob(pattern)):
        raise CheckpointError(
            f"{path} holds no tokenizer ({', '.join(TOKENIZER_FILES)}); add it with tokenizer.save_pretrained(DIR)"
        )


def _check_model_type(path: Path) -> None:
    """Refuse what cannot be exported before any of it is loaded."""
    try:
        model_type = json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (ValueError, TypeError, LookupError) as error:
        raise CheckpointError(f"{path / 'config.json'} is no JSON object with a model_type ({error!r})") from error
    family_of(model_type)


def _load_model(path: Path) -> nn.Module:
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            path,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, huggingface_hub and transformers each raise their own
        raise CheckpointError(f"transformers cannot load {path} as a masked language model: {error}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} weights of a masked language model, {missing[0]} among them, which would be "
            "random; give a checkpoint saved with its masked-language-model head"
        )
    return model.eval()  # type: ignore[no-any-return]


def load_tokenizer(path: Path) -> Any:
    """The transformers fast tokenizer of a directory. Raises CheckpointError for none, or one without a mask token."""
    from transformers import AutoTokenizer

    _check_tokenizer_files(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare exceptions
        raise CheckpointError(f"transformers cannot load the tokenizer of {path}: {error}") from error
    if not tokenizer.is_fast:
        raise CheckpointError(f"the tokenizer of {path} has no fast form (tokenizer.json)")
    if tokenizer.mask_token is None:
        raise CheckpointError(f"the tokenizer of {path} has no mask token; it is no masked language model's")
    return tokenizer


def _fingerprint(path: Path) -> str:
    files = [path / "config.json", *sorted(path.glob("*.safetensors"))]
    return hashlib.sha256(json.dumps([file_sha256(file) for file in files]).encode()).hexdigest()
