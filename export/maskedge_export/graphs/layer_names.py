"""What a person calls a graph's weights and activations: layer and role, told by the weights' names."""

import re
from collections.abc import Sequence

from maskedge_export.graphs.onnx_export import TRANSPOSED

__all__ = ["activation_name", "weight_name"]

STORED = (".int8", ".bits8", ".bits4", ".plain", TRANSPOSED, ".weight")
"""What graphs add to a layer's name, in the order in which it is taken off again."""

BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")

INPUTS = {
    "attention.query": "attention input",
    "attention.key": "attention input",
    "attention.value": "attention input",
    "attention.out": "attention output projection input",
    "mlp.up": "MLP input",
    "mlp.gate": "MLP input",
    "mlp.down": "MLP output projection input",
}
"""What the layers of a block of `maskedge_export.encoders.encoder` take."""

ELSEWHERE = {
    "embedding.project": "embedding: projection input",
    "head.dense": "head: dense input",
    "head.decoder": "head: decoder input",
    "embedding.tokens": "head: decoder input",  # a tied head multiplies with the table
}


def weight_name(stored: str) -> str:
    """The layer that a graph's weight is of, such as `blocks.0.mlp.up`, without how the weight is stored."""
    for ending in STORED:
        stored = stored.removesuffix(ending)
    return stored


def activation_name(weights: Sequence[str]) -> str:
    """The activation that all the given weights are multiplied with, such as
    `layer 0: attention input (query, key, value)`; the weights' own names where they are not of maskedge's own encoder.

    Args:
        weights: The names of the stored weights.
    """
    layers = [weight_name(weight) for weight in weights]
    first, *others = dict.fromkeys(_input_of(layer) for layer in layers)
    if first is None or others:
        return ", ".join(layers)
    several = list(INPUTS.values()).count(first.partition(": ")[2]) > 1
    return f"{first} ({', '.join(layer.rpartition('.')[2] for layer in layers)})" if several else first


def _input_of(layer: str) -> str | None:
    found = BLOCK.fullmatch(layer)
    if found is None:
        return ELSEWHERE.get(layer)
    return f"layer {found[1]}: {INPUTS[found[2]]}" if found[2] in INPUTS else None
