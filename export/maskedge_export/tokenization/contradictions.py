"""A tokenizer.json and settings beside it that say something else: transformers 4 goes by the settings."""

import json
from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from maskedge_export.errors import CheckpointError
from maskedge_export.source_files import is_pointer
from maskedge_export.tokenization.older_files import read_vocabulary
from maskedge_export.tokenization.probe import first_difference, probe_texts
from maskedge_export.tokenization.settings import Settings, part_state

__all__ = ["check_stated"]

BERT_OPTIONS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Options of tokenizer_config.json, and what BERT's normalizer calls them."""
PREFIX = "add_prefix_space"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")

Change = tuple[str, Callable[[Tokenizer], None]]
"""A statement that the file contradicts, and what makes another tokenizer obey it."""


def check_stated(tokenizer: Tokenizer, settings: Settings) -> None:
    """Compare a tokenizer.json with what the settings state of it, wherever transformers 4 goes by those instead.

    What is a class's default only is not stated. Raises CheckpointError with a text that the two read differently:
    which of them the model was trained with only its maker knows.
    """
    _check_vocabulary(tokenizer, settings)
    changes = [*_normalizing(tokenizer, settings), *_prefixing(tokenizer, settings), *_flagging(tokenizer, settings)]
    if not changes:
        return
    other = Tokenizer.from_str(tokenizer.to_str())
    for _, change in changes:
        change(other)
    found = first_difference(tokenizer, other, probe_texts(settings.mask))
    if found is not None:
        raise CheckpointError(
            f"{settings.directory} contradicts itself: of {found.text!r} its tokenizer.json makes {found.first}, and "
            f"with what tokenizer_config.json states ({', '.join(statement for statement, _ in changes)}) that is "
            f"{found.second}; correct the one the model was not trained with"
        )


def _check_vocabulary(tokenizer: Tokenizer, settings: Settings) -> None:
    """Raises CheckpointError where the vocabulary beside a tokenizer.json, of which it was made once, is another."""
    if settings.kind is None or settings.kind.model == "sentence pieces":
        return
    file = settings.directory / settings.kind.files[0]
    for token, index in read_vocabulary(file).items() if file.is_file() and not is_pointer(file) else ():
        own = tokenizer.id_to_token(index)
        if own is not None and own != token:
            raise CheckpointError(
                f"{settings.directory} contradicts itself: the id {index} is {own!r} in tokenizer.json and {token!r} "
                f"in {file.name}; take the file away that the model was not trained with"
            )


def _normalizing(tokenizer: Tokenizer, settings: Settings) -> list[Change]:
    """Statements on BERT's normalizer."""
    state = part_state(tokenizer.normalizer)
    if state.pop("type", None) != "BertNormalizer" or settings.kind is None or settings.kind.model != "word pieces":
        return []
    stated = {name: settings.option(name) for name in BERT_OPTIONS if name in settings.stated}
    other = {name: value for name, value in stated.items() if state[BERT_OPTIONS[name]] != value}
    state |= {BERT_OPTIONS[name]: value for name, value in other.items()}

    def obey(tokenizer: Tokenizer) -> None:
        tokenizer.normalizer = normalizers.BertNormalizer(**state)

    return [(f"{name}: {json.dumps(value)}", obey) for name, value in other.items()]


def _prefixing(tokenizer: Tokenizer, settings: Settings) -> list[Change]:
    """A statement on the space that texts over bytes begin with."""
    state = part_state(tokenizer.pre_tokenizer)
    if state.pop("type", None) != "ByteLevel" or PREFIX not in settings.stated:
        return []
    value = bool(settings.option(PREFIX))

    def obey(tokenizer: Tokenizer) -> None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(**{**state, PREFIX: value})

    return [] if state[PREFIX] == value else [(f"{PREFIX}: {json.dumps(value)}", obey)]


def _flagging(tokenizer: Tokenizer, settings: Settings) -> list[Change]:
    """Statements on the tokens that were added."""
    if not settings.flags_stated:
        return []
    own = {token.content: _flags(token) for token in tokenizer.get_added_tokens_decoder().values()}
    other = [token for token in settings.added.values() if own.get(token.content, _flags(token)) != _flags(token)]
    return [(_spelled(token), lambda tokenizer, token=token: tokenizer.add_tokens([token])) for token in other]  # type: ignore[misc]


def _flags(token: AddedToken) -> list[bool]:
    return [getattr(token, flag) for flag in FLAGS]


def _spelled(token: AddedToken) -> str:
    return f"{token.content} with {', '.join(flag for flag in FLAGS if getattr(token, flag)) or 'no flags'}"
