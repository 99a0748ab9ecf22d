"""Weights that stand for two: a head that is the embedding, and a head's bias, which its layers name twice."""

from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["biases_in_two", "restore_ties", "tie_notes"]


def restore_ties(model: Any, missing: set[str]) -> set[str]:
    """What is still missing when a head takes from elsewhere what transformers 4 did not store twice and 5 looks for
    there: the embedding of a model that is said to be tied, and the bias, which was tied in every model."""
    biases = [pair for one, other in biases_in_two(model) for pair in ((one, other), (other, one))]
    pairs = {name: other for name, other in biases if name in missing and other not in missing}
    table, head = _embeddings(model)
    if head in missing and getattr(model.config, "tie_word_embeddings", False):
        pairs[head] = table
    for name, other in pairs.items():
        module, _, kind = name.rpartition(".")
        setattr(model.get_submodule(module), kind, model.get_parameter(other))
    return missing - pairs.keys()


def biases_in_two(model: Any) -> list[tuple[str, str]]:
    """The names of what is one bias in transformers 4, and in transformers 5 two where the head is not tied."""
    tied = getattr(model, "_tied_weights_keys", None) or {}
    return [(name, other) for name, other in tied.items() if name.endswith(".bias")]


def _embeddings(model: Any) -> tuple[str, str]:
    """The names of the token table and the head's weight; empty for one that is nowhere or has another shape."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    table, head = (getattr(module, "weight", None) for module in modules)
    if table is None or head is None or table.shape != head.shape:
        return "", ""
    names = list(model.named_parameters(remove_duplicate=False))
    found = [[name for name, weight in names if weight is wanted] for wanted in (table, head)]
    return found[0][0], found[1][-1]


def tie_notes(model: Any) -> Iterator[str]:
    """Let the configuration say that the head is the embedding only where it is, and tell of what was stored apart."""
    table, head = _embeddings(model)
    apart = head and model.get_parameter(table) is not model.get_parameter(head)
    if apart and getattr(model.config, "tie_word_embeddings", False):
        model.config.tie_word_embeddings = False
        yield (
            f"{head} is stored apart from {table}, though config.json ties them: the graphs, as transformers 5, take "
            "each as it is stored; transformers 4 would take the embedding for both."
        )
    read = getattr(model.get_output_embeddings(), "bias", None)
    for names in biases_in_two(model):
        one, other = (model.get_parameter(name) for name in names)
        if not torch.equal(one, other):
            yield f"{' and '.join(names)} are stored apart; the head reads {names[0 if one is read else 1]}."
