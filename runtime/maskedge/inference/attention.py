"""Encoded texts -> where each attention head looks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from maskedge.arrays import Float32Array, Int64Array
from maskedge.bundle.engine import Graph
from maskedge.bundle.format import ATTENTION_OUTPUTS
from maskedge.errors import EngineError
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.words import divide
from maskedge.inference.workers import Workers
from maskedge.results import Attention

__all__ = ["attentions"]

TOKENS_PER_BATCH = 1024
"""Most tokens in a batch: two texts of 512 tokens, whose attention takes 300 MB with 12 layers of 12 heads."""


def attentions(texts: Sequence[EncodedText], encoder: TextEncoder, graph: Graph, workers: Workers) -> list[Attention]:
    """Each text's attention, in order. A text's probabilities are the same bits whatever it is batched with."""
    inputs = [_window(text, encoder) for text in texts]

    def run(batch: list[int]) -> tuple[list[int], Int64Array, Float32Array]:
        ids = np.stack([inputs[index] for index in batch])
        weights: Float32Array = graph.run(["attentions"], {"input_ids": ids})["attentions"].astype(np.float32)
        if weights.ndim != 5 or (weights.shape[0], *weights.shape[3:]) != (*ids.shape, ids.shape[1]):
            said = f"the attention graph gives {weights.shape} for texts {ids.shape}"
            raise EngineError(f"{said}; it must be {ATTENTION_OUTPUTS['attentions']}. Export the bundle again")
        return batch, ids, weights

    def finish(read: tuple[list[int], Int64Array, Float32Array]) -> list[tuple[int, Attention]]:
        return [(index, _attention(texts[index], encoder, *row)) for index, *row in zip(*read, strict=True)]

    by_index = dict(chain.from_iterable(workers.map(run, _batches(inputs), finish)))
    return [by_index[index] for index in range(len(texts))]


def _window(text: EncodedText, encoder: TextEncoder) -> Int64Array:
    """The ids that are read: a text without masks that is longer than the model is cut at its end."""
    if len(text.input_ids) <= encoder.max_length:
        return text.input_ids
    start = len(encoder.prefix)
    return np.array([*encoder.prefix, *text.input_ids[start : start + encoder.room], *encoder.suffix], np.int64)


def _batches(inputs: Sequence[Int64Array]) -> Iterator[list[int]]:
    """Indices of texts of one length, the longest first."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, ids in enumerate(inputs):
        groups[len(ids)].append(index)
    for length, group in sorted(groups.items(), reverse=True):
        size = max(1, TOKENS_PER_BATCH // length)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _attention(text: EncodedText, encoder: TextEncoder, ids: Int64Array, weights: Float32Array) -> Attention:
    tokens = tuple(map(encoder.token_str, ids.tolist()))
    truncated = text.truncated or len(ids) < len(text.input_ids)
    return Attention(text.text, tuple(ids.tolist()), tokens, _words(text, encoder, len(ids)), weights, truncated)


def _words(text: EncodedText, encoder: TextEncoder, length: int) -> tuple[int | None, ...]:
    """The word of each of the tokens that were read."""
    words = divide(text.source, encoder.offsets(text))
    numbers = [number for number, word in enumerate(words) for _ in word.tokens]
    room = length - len(encoder.prefix) - len(encoder.suffix)
    read = numbers[text.window_start : text.window_start + room]
    return (*(None for _ in encoder.prefix), *read, *(None for _ in encoder.suffix))
