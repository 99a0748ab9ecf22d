"""What the JSON files beside a tokenizer say of it: its class, its options, its special and added tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from maskedge_export.errors import CheckpointError
from maskedge_export.source_files import read_json
from maskedge_export.tokenization.classes import CLASSES, MODEL_TYPES, TokenizerClass

__all__ = ["ROLES", "Settings", "part_state", "read_settings"]

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""In the order in which transformers gives ids to those that a vocabulary lacks."""
EXTRA = ("additional_special_tokens", "extra_special_tokens")
"""Keys of special tokens without a role; the second is transformers 5's."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a directory states of its tokenizer, and what its class adds to that."""

    directory: Path
    class_name: str
    """Without "Fast"; empty where neither a file nor the type of the model tells it."""
    stated: Mapping[str, Any]
    """Options, as tokenizer_config.json has them."""
    roles: Mapping[str, str | AddedToken | None]
    """Role -> special token, with its flags where they are stated, or None where it is stated to have none."""
    extra: Sequence[str | AddedToken]
    """Special tokens without a role."""
    added: Mapping[int, AddedToken]
    """Id -> token that was added to the vocabulary, in the order of the ids."""
    flags_stated: bool
    """Whether the added tokens come with their flags; before transformers 4.34 only those of roles did."""

    @property
    def kind(self) -> TokenizerClass | None:
        """The class, where it is known."""
        return CLASSES.get(self.class_name)

    def option(self, name: str) -> bool | None:
        """An option of the class, stated or by default. Raises CheckpointError for one that is no truth value."""
        default = None if self.kind is None else self.kind.options.get(name)
        said = self.stated.get(name, default)
        if said is None or isinstance(said, bool):
            return said
        raise CheckpointError(
            f"{self.directory / 'tokenizer_config.json'} has {name}: {said!r}, where true, false or null belongs"
        )

    def flag(self, name: str) -> bool:
        """An option that is on or off."""
        return bool(self.option(name))

    def role(self, name: str) -> str:
        """The token of a role that a tokenizer cannot be built without. Raises CheckpointError where it has none."""
        token = self.special_tokens().get(name)
        if token is None:
            raise CheckpointError(
                f"{self.directory / 'tokenizer_config.json'} states that there is no {name}, which a "
                f"{self.class_name} is not built without; take that out"
            )
        return str(token)

    @property
    def unknown(self) -> str:
        """The token that stands for what the vocabulary lacks."""
        return self.role("unk_token")

    @property
    def mask(self) -> str:
        """The mask token; empty where there is none."""
        return str(self.special_tokens().get("mask_token", ""))

    def special_tokens(self) -> dict[str, str | AddedToken]:
        """Role -> special token, stated or by default, in the order of ROLES."""
        default = {} if self.kind is None else self.kind.roles
        tokens = {role: self.roles.get(role, default.get(role)) for role in ROLES}
        return {role: token for role, token in tokens.items() if token is not None}


def read_settings(directory: Path) -> Settings:
    """The settings of a tokenizer's directory. Raises CheckpointError for a file that cannot be read."""
    stated = read_json(directory / "tokenizer_config.json")
    decoder = stated.get("added_tokens_decoder")
    if decoder is None:  # before transformers 4.34 there was a file for each
        stated = {**stated, **read_json(directory / "special_tokens_map.json")}
    roles = {role: _token(stated[role], directory) for role in ROLES if role in stated}
    extra = tuple(token for key in EXTRA for token in _listed(stated.get(key), directory))
    special = {str(token) for token in (*roles.values(), *extra)}
    added = _legacy_added(directory, special) if decoder is None else _decoder(decoder, directory)
    name, in_order = _class_name(directory, stated), dict(sorted(added.items()))
    return Settings(directory, name, stated, roles, extra, in_order, flags_stated=decoder is not None)


def part_state(part: Any) -> dict[str, Any]:
    """A part of a tokenizer, such as its normalizer, as tokenizer.json writes it; empty where there is none."""
    state: dict[str, Any] = {} if part is None else json.loads(part.__getstate__())
    return state


def _class_name(directory: Path, stated: Mapping[str, Any]) -> str:
    config = read_json(directory / "config.json")
    default = MODEL_TYPES.get(str(config.get("model_type")), "")
    return str(stated.get("tokenizer_class") or config.get("tokenizer_class") or default).removesuffix("Fast")


def _token(said: Any, directory: Path) -> str | AddedToken | None:
    """A special token as one of the JSON files writes it."""
    if said is None or isinstance(said, str):
        return said
    if isinstance(said, dict) and isinstance(said.get("content"), str):
        return _added_token({"special": True, **said})
    raise CheckpointError(f"the tokenizer's settings in {directory} have {said!r} where a special token belongs")


def _listed(said: Any, directory: Path) -> list[str | AddedToken]:
    """Special tokens as a list, or a dictionary with names for them, writes them."""
    tokens = (_token(token, directory) for token in (said.values() if isinstance(said, dict) else said or ()))
    return [token for token in tokens if token is not None]


def _added_token(said: Mapping[str, Any]) -> AddedToken:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return AddedToken(str(said["content"]), **{flag: bool(said[flag]) for flag in flags if flag in said})


def _decoder(said: Any, directory: Path) -> dict[int, AddedToken]:
    try:
        return {int(index): _added_token(token) for index, token in said.items()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{directory / 'tokenizer_config.json'} has an added_tokens_decoder that does not map ids to tokens "
            f"({error!r})"
        ) from error


def _legacy_added(directory: Path, special: set[str]) -> dict[int, AddedToken]:
    file = directory / "added_tokens.json"
    said = read_json(file)
    if not all(isinstance(index, int) for index in said.values()):
        raise CheckpointError(f"{file} is no list of tokens with their ids")
    return {
        index: AddedToken(token, normalized=token not in special, special=token in special)
        for token, index in said.items()
    }
