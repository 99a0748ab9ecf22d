"""A loaded model's weights against those of its checkpoint: what is missing, and what the checkpoint knows besides."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskedge_export.encoders.stored_weights import COUNTERS, LEARNED, StoredWeight
from maskedge_export.encoders.trial import trial_ids

__all__ = ["Account", "account", "depended_on"]

OTHER_HEADS = frozenset({"pooler", "seq_relationship"})
"""What stands within trunks and heads and no masked language model reads: a vector of the whole text, and whether one
sentence follows another."""


@dataclass(frozen=True, slots=True)
class Account:
    """What is amiss between a model and its checkpoint, by the names of weights, sorted."""

    missing: tuple[str, ...]
    """Of the model: the logits depend on them, and the checkpoint does not hold them."""
    unread: tuple[str, ...]
    """Of the checkpoint: they lie within the model's trunk or head, where nothing reads them."""
    left_out: tuple[str, ...]
    """Of the checkpoint: they lie beside trunk and head, as those of other tasks do."""
    not_stored: frozenset[str]
    """Of the model: the checkpoint does not hold them, whether the logits depend on them or not. They hold anything."""


def account(model: Any, stored: Mapping[str, StoredWeight], missing: Collection[str], other: Iterable[str]) -> Account:
    """Weigh what transformers found `missing` in a checkpoint, and `other` than the model's; `stored` by the names that
    the model has for them."""
    makes = _made_by_code(model, stored)
    beside = [name for name in other if name not in makes and not OTHER_HEADS.intersection(name.split(".")[:2])]
    unread = {name for name in beside if _within(name, model)} | {name for name, same in makes.items() if not same}
    return Account(
        missing=tuple(sorted(depended_on(model, missing))),
        unread=tuple(sorted(unread)),
        left_out=tuple(sorted(set(beside) - unread)),
        not_stored=frozenset(missing),
    )


def depended_on(model: Any, names: Iterable[str]) -> list[str]:
    """Those of a model's named parameters and buffers that its logits depend on, as autograd traces them.

    Buffers of whole numbers, such as positions, count as none, and so does what is computed without a gradient, such as
    rotary angles: no training made them, and the model's code makes them again.
    """
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    asked = {name: tensors[name] for name in names if tensors[name].is_floating_point()}
    if not asked:
        return []
    with torch.enable_grad(), _requiring_grad(list(asked.values())):
        logits = model(input_ids=trial_ids(model)).logits
        leaves = set(_leaves(logits))
    return [name for name, tensor in asked.items() if id(tensor) in leaves]


@contextmanager
def _requiring_grad(tensors: list[Tensor]) -> Iterator[None]:
    before = [tensor.requires_grad for tensor in tensors]
    for tensor in tensors:
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor, required in zip(tensors, before, strict=True):
            tensor.requires_grad_(required)


def _leaves(result: Tensor) -> Iterator[int]:
    """The identities of the tensors that a result was computed from."""
    seen, ahead = set(), [result.grad_fn]
    while ahead:
        node: Any = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield id(node.variable)
        ahead.extend(previous for previous, _ in node.next_functions)


def _within(name: str, model: Any) -> bool:
    """Whether a weight of this name, if any part of the model had one, would be in the trunk or the head; the trunk's
    weights may be stored without its name before theirs."""
    parts = {child for module in (model, model.base_model) for child, _ in module.named_children()}
    return name.split(".")[0] in parts


def _made_by_code(model: Any, stored: Mapping[str, StoredWeight]) -> dict[str, bool]:
    """The stored tensors that the model's code makes again instead of reading them, such as positions and rotary
    frequencies, and whether it makes the same."""
    loaded = model.state_dict()
    buffers = [(name.rsplit(".", 1)[-1], buffer) for name, buffer in model.named_buffers() if name not in loaded]
    found = {}
    for name, weight in stored.items():
        named = [buffer for kind, buffer in buffers if kind == weight.kind or kind.endswith(f"_{weight.kind}")]
        if name not in loaded and (named or weight.dtype in COUNTERS) and weight.kind not in LEARNED:
            found[name] = _is_made(weight.load(), named)
    return found


def _is_made(tensor: Tensor, buffers: list[Tensor]) -> bool:
    """Whether a stored tensor is one of these, within what half precision loses, or counts from 0, or is all zeros."""
    flat = tensor.flatten()
    alike = [buffer.flatten() for buffer in buffers if buffer.numel() == len(flat)]
    if tensor.is_floating_point():
        return any(torch.allclose(flat.float(), buffer.float(), rtol=1e-2, atol=0) for buffer in alike)
    alike += [torch.arange(len(flat)), torch.zeros_like(flat)]
    return any(torch.equal(flat.long(), buffer.long()) for buffer in alike)
