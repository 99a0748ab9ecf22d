"""transformers' model of a checkpoint's directory, in fp32, with every stored weight accounted for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskedge_export.encoders.accounting import Account, account
from maskedge_export.encoders.configuration import load_config
from maskedge_export.encoders.families import FAMILIES
from maskedge_export.encoders.soundness import check_weights
from maskedge_export.encoders.stored_weights import StoredWeight, check_stored, renamings, stored_weights, unwrapped
from maskedge_export.encoders.ties import restore_ties, tie_notes
from maskedge_export.encoders.trial import trial_ids, try_out
from maskedge_export.errors import CheckpointError, UnsupportedModelError, one_line

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A transformers model."""

    model: nn.Module
    notes: tuple[str, ...]
    """What whoever exports it should know of its checkpoint, a line each."""
    lacks_head: bool = False
    """Whether the checkpoint lacks weights of the head, which are random then."""


def load_model(path: Path, *, headless: bool = False) -> LoadedModel:
    """The masked language model of a directory whose config.json passed `check_config`. A `headless` one may lack
    weights of its head.

    Raises CheckpointError for weights that cannot be read, are no numbers, are quantized, are an adapter's, or are too
    few, and UnsupportedModelError for a model that transformers itself cannot run, or that leaves some of its weights
    unread.
    """
    config = load_config(path)
    stored = stored_weights(path, config)
    check_stored(path, stored)
    model, books = _load(path, config, stored)
    prefix = _common_prefix(path, books.missing, map(unwrapped, stored), model)
    if prefix:
        model, books = _load(path, config, stored, prefix)
    _check(path, books, model, headless)
    check_weights(model, path, books.not_stored)
    notes = (*_other_files(path, stored), *_prefix_notes(stored, prefix), *_left_out(books), *tie_notes(model))
    return LoadedModel(model, notes, lacks_head=bool(books.missing))


def _cannot_load(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"transformers cannot load {path} as a masked language model: {reason}")


def _load(path: Path, config: Any, stored: Mapping[str, StoredWeight], prefix: str = "") -> tuple[Any, Account]:
    """The model, and its account with the stored weights, `prefix` taken off their names."""
    model, info = _from_pretrained(path, config, renamings(stored, prefix))
    for name, found, asked in sorted(info["mismatched_keys"]):
        shapes = f"{list(found)}, and its config.json asks for {list(asked)}"
        raise _cannot_load(path, f"{name} is stored as {shapes}")
    missing = restore_ties(model, set(info["missing_keys"]))
    try_out(model, trial_ids(model))
    by_name = {unwrapped(name).removeprefix(prefix): weight for name, weight in stored.items()}
    _check_places(path, stored, prefix, model)
    return model, account(model, by_name, missing, info["unexpected_keys"])


def _check_places(path: Path, stored: Mapping[str, StoredWeight], prefix: str, model: Any) -> None:
    """Raise CheckpointError for two stored weights that take one place in the model, of which one would be lost."""
    places: dict[str, StoredWeight] = {}
    for name, weight in stored.items():
        place = unwrapped(name).removeprefix(prefix).removeprefix(f"{model.base_model_prefix}.")
        for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
            place = place.replace(old, new)
        other = places.setdefault(place, weight)
        if other is not weight and not torch.equal(weight.load(), other.load()):
            raise CheckpointError(
                f"{path} holds {other.name} and {name}, two weights for one place; keep one in a copy of it"
            )


def _from_pretrained(path: Path, config: Any, renaming: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused with their names
            key_mapping=renaming or None,
        )
    except Exception as error:  # safetensors, huggingface_hub and transformers each raise their own
        raise _cannot_load(path, one_line(error)) from error
    return model.eval(), info


def _common_prefix(path: Path, missing: Iterable[str], names: Iterable[str], model: Any) -> str:
    """What stands before the stored names of most of the missing weights; empty for nothing.

    Raises CheckpointError where they are there more than once.
    """
    trunk, stored = f"{model.base_model_prefix}.", list(names)
    wanted = [{name, name.removeprefix(trunk)} for name in missing]
    counts = Counter(
        prefix
        for owns in wanted
        for prefix in {name.removesuffix(own) for own in owns for name in stored if name.endswith(f".{own}")}
    )
    found = [prefix for prefix, count in counts.items() if count == max(counts.values()) > len(wanted) // 2]
    if len(found) > 1:
        raise CheckpointError(
            f"{path} holds several models, whose weights' names begin with {' and '.join(map(repr, sorted(found)))}; "
            "keep one of them in a copy of it"
        )
    return found[0] if found else ""


def _check(path: Path, books: Account, model: Any, headless: bool) -> None:
    trunk = [name for name in books.missing if name.startswith(f"{model.base_model_prefix}.")]
    if missing := trunk if headless else books.missing:
        trainable = model.config.model_type in FAMILIES and not trunk
        raise CheckpointError(
            f"{path} lacks {len(missing)} weights of a masked language model, {missing[0]} among them, "
            "which would be random; give a checkpoint saved with its masked-language-model head and its own config.json"
            + (f", or train a head: mlm-export train RECIPE --start {path}" if trainable else "")
        )
    if books.unread:
        from transformers import __version__

        others = f" and {len(books.unread) - 1} more" if len(books.unread) > 1 else ""
        raise UnsupportedModelError(
            f"{path} holds weights that nothing reads in the model which transformers {__version__} makes of its "
            f"config.json, so it would not answer as it was trained: {books.unread[0]}{others}; correct config.json, "
            "or, if they take no part in the answers, remove them from a copy of the checkpoint"
        )


def _other_files(path: Path, stored: Mapping[str, StoredWeight]) -> Iterable[str]:
    others = {file.name for file in path.glob("*.safetensors")} - {weight.file.name for weight in stored.values()}
    if others:
        yield f"Files of weights beside the model's own are not read: {', '.join(sorted(others))}."
    if adapters := sorted(file.parent.name for file in path.glob("*/adapter_config.json")):
        yield f"Adapters beside the model are not read: {', '.join(adapters)}."


def _prefix_notes(stored: Iterable[str], prefix: str) -> Iterable[str]:
    wrapped = next((name for name in stored if unwrapped(name) != name), None)
    if wrapped:
        yield f"PyTorch's wrappers were taken out of the weights' names, as of {wrapped}."
    if prefix:
        yield f"{prefix!r} was taken off the weights' names."


def _left_out(books: Account) -> Iterable[str]:
    if books.left_out:
        heads = ", ".join(sorted({name.split(".")[0] for name in books.left_out}))
        yield f"Weights of the checkpoint that are no part of its masked language model are left out: {heads}."
