"""The arguments of a call as of `transformers.pipeline("fill-mask")`: what each may be, and what it means."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import index
from typing import Any, TypedDict

from maskedge.inference.beam_search import Order, check_order
from maskedge.inference.encoding import TextEncoder
from maskedge.inference.targets import TargetLists, first_pieces, read_targets

__all__ = ["CallArguments", "CallOptions", "read_arguments"]


class CallArguments(TypedDict, total=False):
    """The keyword arguments of a call, or of `pipeline`. None means that one is not given."""

    top_k: int | None
    """How many candidates; 5 by default."""
    targets: str | Iterable[str] | Iterable[Iterable[str]] | None
    """Words to choose from: one, several, or a list for each mask."""
    tokenizer_kwargs: dict[str, Any] | None
    """Only `truncation` is accepted; it has no effect, as a text that is too long is always cut around its masks."""
    batch_size: int | None
    """How many texts are read from an iterator at a time at most; 1 by default. No result depends on it."""
    num_workers: int | None
    """Accepted, and without effect."""
    whole_targets: bool | None
    """Whether all pieces of a target are scored together. By default its first piece alone is, as in transformers."""
    joint: bool | Order | None
    """Whether several masks are filled together, and in which order; True means `left_to_right`."""
    skip_special_tokens: bool | None
    """Whether [CLS] and [SEP] are left out of a text with several masks, too. By default they stay there, as in
    transformers; the other masks stay in any case."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The arguments of a call, read and checked."""

    top_k: int = 5
    targets: TargetLists[str] | None = None
    target_ids: TargetLists[int] | None = None
    """The targets' first pieces; None where they are scored whole."""
    joint: Order | None = None
    skip_special_tokens: bool = False
    whole_targets: bool = False
    read_ahead: int = 1


def read_arguments(
    defaults: CallOptions, arguments: CallArguments, encoder: TextEncoder, vocab_size: int
) -> CallOptions:
    """The options of a call. Raises TypeError for an unknown argument and ValueError for an impossible value."""
    _refuse_unknown(arguments)
    given: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}
    for ignored in ("tokenizer_kwargs", "num_workers"):
        given.pop(ignored, None)
    if "batch_size" in given:
        given["read_ahead"] = max(1, index(given.pop("batch_size")))
    if "joint" in given:
        given["joint"] = _order(given["joint"])
    if "targets" in given:
        given |= {"targets": read_targets(given["targets"]), "target_ids": None}
    options = replace(defaults, **given)
    _check(options, vocab_size)
    return _with_ids(options, encoder)


def _refuse_unknown(arguments: CallArguments) -> None:
    """Static types do so already; this is for callers who do not check them."""
    unknown = [name for name in arguments if name not in CallArguments.__annotations__]
    unknown += [
        f"tokenizer_kwargs[{name!r}]" for name in arguments.get("tokenizer_kwargs") or {} if name != "truncation"
    ]
    if unknown:
        raise TypeError(f"got an unexpected keyword argument: {', '.join(unknown)}")


def _order(joint: bool | Order) -> Order | None:
    if isinstance(joint, bool):
        return "left_to_right" if joint else None
    check_order(joint)
    return joint


def _check(options: CallOptions, vocab_size: int) -> None:
    top_k = index(options.top_k)
    if top_k < 0 or (top_k > vocab_size and options.targets is None):  # targets bound it otherwise
        raise ValueError(f"top_k is {top_k}; it must be from 0 to {vocab_size}, the size of the vocabulary")
    if options.joint and options.targets:
        raise ValueError("joint filling chooses from the whole vocabulary; leave targets out, or joint")


def _with_ids(options: CallOptions, encoder: TextEncoder) -> CallOptions:
    if options.targets is None or options.whole_targets:
        return replace(options, target_ids=None)
    return options if options.target_ids else replace(options, target_ids=first_pieces(encoder, options.targets))
