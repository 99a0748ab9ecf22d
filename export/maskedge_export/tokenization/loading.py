"""A directory's tokenizer as its own files have it: what transformers would make of them instead is never asked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer

from maskedge.inference.encoding import TextEncoder
from maskedge_export.errors import CheckpointError, one_line
from maskedge_export.source_files import read_json, real_file
from maskedge_export.tokenization.classes import NOT_IN_ITS_FILE, PYTHON_ONLY
from maskedge_export.tokenization.contradictions import check_stated
from maskedge_export.tokenization.older_files import from_older_files
from maskedge_export.tokenization.probe import first_difference, probe_texts, reads
from maskedge_export.tokenization.settings import Settings, read_settings
from maskedge_export.tokenization.special_tokens import add_tokens, check_ids

__all__ = ["check_tokenizer", "load_tokenizer", "read_tokenizer", "tokenizer_notes"]

UNLIMITED = int(1e30)
"""Tokens, as transformers writes that a tokenizer knows no longest text."""
READINGS = 3
"""Of each text, to see whether they are all the same."""
SAMPLE, SAMPLE_CHARACTERS = 500, 1000
"""Texts, and characters of each, that tokenizers are compared on besides the probe."""


def load_tokenizer(directory: Path) -> Any:
    """A directory's tokenizer as a transformers fast tokenizer, whose `backend_tokenizer` is `read_tokenizer`'s.

    Raises CheckpointError for none, or one without a mask token.
    """
    from transformers import PreTrainedTokenizerFast

    settings = read_settings(directory)
    tokenizer = read_tokenizer(directory)
    known = {role: str(token) for role, token in settings.special_tokens().items()}
    roles = {role: token for role, token in known.items() if tokenizer.token_to_id(token) is not None}
    if "mask_token" not in roles:
        raise CheckpointError(
            f"the tokenizer of {directory} has no mask token (mask_token in tokenizer_config.json); it is no masked "
            "language model's"
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, **roles, **_of_use(settings)
    )


def read_tokenizer(directory: Path) -> Tokenizer:
    """A directory's tokenizer: its tokenizer.json, or what transformers 4 makes of the files there were before that.

    Nothing in it differs from call to call, cuts texts or fills them up. Raises CheckpointError for a directory without
    a tokenizer, one that exists in Python only, and files that cannot be read, don't belong together or contradict each
    other.
    """
    settings = read_settings(directory)
    file = directory / "tokenizer.json"
    tokenizer = _from_json(file, settings) if file.is_file() else from_older_files(settings)
    check_ids(tokenizer, settings)
    _check_certain(tokenizer, settings)
    return tokenizer


def tokenizer_notes(directory: Path) -> Iterator[str]:
    """What was made of a directory's tokenizer, a line each, where it is not its tokenizer.json as it stands."""
    settings, file = read_settings(directory), directory / "tokenizer.json"
    if settings.kind is not None and not file.is_file():
        yield (
            f"The tokenizer is made of {' and '.join(settings.kind.files)} as transformers 4 reads a "
            f"{settings.class_name}; other versions may read text otherwise."
        )
    content = read_json(file)
    if dropout := content.get("model", {}).get("dropout"):
        yield f"What its tokenizer leaves to chance (dropout {dropout}) is switched off."
    if left := [name for name in ("truncation", "padding") if content.get(name)]:
        yield f"Its tokenizer's {' and '.join(left)} are switched off: texts are read whole."


def check_tokenizer(directory: Path, encoder: TextEncoder, texts: Sequence[str], name: str) -> None:
    """Compare the encoder's tokenizer, called `name`, with the directory's, on the probe and on a sample of the texts.

    Raises CheckpointError with the first text that they read differently.
    """
    sample = [text[:SAMPLE_CHARACTERS] for text in texts[:: max(1, len(texts) // SAMPLE)]]
    own = read_tokenizer(directory)
    found = first_difference(own, encoder.tokenizer, [*probe_texts(encoder.mask_token), *sample])
    if found is not None:
        raise CheckpointError(
            f"{name} does not read text as the tokenizer of {directory} does: of {found.text!r} it makes "
            f"{found.second}, instead of {found.first}; export the checkpoint again"
        )


def _of_use(settings: Settings) -> dict[str, Any]:
    """What else of a tokenizer's settings says how it is used, not how it reads text."""
    stated, kind = settings.stated, settings.kind
    kept = ("clean_up_tokenization_spaces", "model_input_names", "padding_side", "truncation_side")
    use = {name: stated[name] for name in kept if stated.get(name) is not None}
    if kind is not None:
        inputs = ["input_ids", *(["token_type_ids"] if kind.token_types else []), "attention_mask"]
        use.setdefault("model_input_names", inputs)
    return {**use, "model_max_length": _longest(settings)}


def _longest(settings: Settings) -> int:
    said = settings.stated.get("model_max_length") or settings.stated.get("max_len") or UNLIMITED
    try:
        return int(said)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{settings.directory / 'tokenizer_config.json'} has model_max_length: {said!r}, where a number belongs"
        ) from error


def _from_json(file: Path, settings: Settings) -> Tokenizer:
    if settings.class_name in NOT_IN_ITS_FILE:
        raise CheckpointError(
            f"{file} is not all of its tokenizer: a {settings.class_name} {PYTHON_ONLY[settings.class_name]}, in "
            "Python, which the file leaves out; if the model was trained with the file alone, say so with "
            '"tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json'
        )
    tokenizer = _read_json(file)
    if hasattr(tokenizer.model, "dropout"):
        tokenizer.model.dropout = None  # merges left out by chance are for training (Provilkov et al. 2020)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    check_stated(tokenizer, settings)
    add_tokens(tokenizer, settings, defaults=False)
    return tokenizer


def _read_json(file: Path) -> Tokenizer:
    real_file(file)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare exceptions
        raise CheckpointError(
            f"{file} is no tokenizer that tokenizers {tokenizers.__version__} reads ({one_line(error)}); copy it again "
            "or, where it is whole, install a newer version: pip install -U tokenizers"
        ) from error


def _check_certain(tokenizer: Tokenizer, settings: Settings) -> None:
    """Raises CheckpointError for a tokenizer that leaves something to chance."""
    for text in probe_texts(settings.mask):
        if len({str(reads(tokenizer, text)) for _ in range(READINGS)}) > 1:
            raise CheckpointError(
                f"the tokenizer of {settings.directory} reads {text!r} differently from time to time; switch off what "
                "it leaves to chance"
            )
