"""What contenders share that run a network on padded batches: texts sorted by length, and the best tokens of logits.

transformers' page on pipelines says that batches pay where lengths are alike
(https://huggingface.co/docs/transformers/main_classes/pipelines, "Pipeline batching"), so rows are sorted by length.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from peers.contender import Model
from tokenizers import Tokenizer

__all__ = ["Batch", "SortedBatches", "best_tokens", "example_ids", "masked_copies", "tokenizer_and_mask"]

ROWS = 32
"""Of a batch, at most."""
TOP_K = 5
"""How many tokens the pipeline returns, and so all others."""

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows, each with one mask."""

    input_ids: Int64Array
    """[rows, length]"""
    attention_mask: Int64Array
    """[rows, length]"""
    positions: Int64Array
    """[rows]: where each row's mask is."""


Logits = Callable[[Batch], Float32Array]
"""A batch -> the logits at its masks, [rows, vocabulary]."""


class SortedBatches:
    """A contender that runs a function on padded batches of rows of about one length."""

    def __init__(self, model: Model, logits: Logits, *, at_once: int = 1) -> None:
        """`at_once` batches are given to the function at a time, from as many threads."""
        self.tokenizer, self.mask = tokenizer_and_mask(model)
        self.pad = model.config.get("pad_token_id") or 0
        self.logits, self.at_once = logits, at_once
        self.pool = ThreadPoolExecutor(at_once)
        self.called = False

    def fill(self, texts: list[str]) -> list[int]:
        """The best token at the mask of each text."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        best = self.each(rows, lambda batch: best_tokens(self.logits(batch))[0][:, 0])
        return [int(token) for token in best]

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text: of copies, each with one token masked."""
        copies, targets, counts = masked_copies([row.ids for row in self.tokenizer.encode_batch(texts)], self.mask)
        logits = self.each(copies, self.logits)
        scores = [row[target] - log_sum_exp(row) for row, target in zip(logits, targets, strict=True)]
        ends = np.cumsum(counts)
        return [float(np.sum(scores[end - count : end])) for end, count in zip(ends, counts, strict=True)]

    def each(self, rows: list[list[int]], answer: Callable[[Batch], Any]) -> list[Any]:
        """What the function answers for each row, in the rows' order."""
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]), reverse=True)
        size = min(ROWS, -(-len(rows) // self.at_once))
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        batches = [self.batch([rows[row] for row in group]) for group in groups]
        if not self.called:  # alone: OpenVINO's binding locks for ever where its first calls are two at once
            answer(batches[0])
            self.called = True
        run = self.pool.map if self.at_once > 1 else map
        answers = list(run(answer, batches))
        by_row = {
            row: one for group, some in zip(groups, answers, strict=True) for row, one in zip(group, some, strict=True)
        }
        return [by_row[row] for row in range(len(rows))]

    def batch(self, rows: list[list[int]]) -> Batch:
        """The rows, padded to the longest."""
        shape = len(rows), max(map(len, rows))
        input_ids, attention_mask = np.full(shape, self.pad, np.int64), np.zeros(shape, np.int64)
        for number, row in enumerate(rows):
            input_ids[number, : len(row)] = row
            attention_mask[number, : len(row)] = 1
        return Batch(input_ids, attention_mask, (input_ids == self.mask).argmax(axis=1))


def tokenizer_and_mask(model: Model) -> tuple[Tokenizer, int]:
    """The checkpoint's tokenizer, and its mask's id."""
    tokenizer = Tokenizer.from_file(str(model.checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    mask = tokenizer.token_to_id(model.mask_token)
    assert mask is not None
    return tokenizer, mask


def best_tokens(logits: Float32Array) -> tuple[Int64Array, Float32Array]:
    """The five most probable tokens of each row, best first, and their probabilities: both [rows, 5]."""
    some = np.argpartition(logits, -TOP_K, axis=1)[:, -TOP_K:]
    values = np.take_along_axis(logits, some, axis=1)
    order = np.argsort(-values, axis=1)
    probabilities = np.exp(np.take_along_axis(values, order, axis=1) - log_sum_exp(logits)[:, np.newaxis])
    return np.take_along_axis(some, order, axis=1), probabilities


def log_sum_exp(logits: Float32Array) -> Float32Array:
    """Over the last axis."""
    highest = logits.max(axis=-1, keepdims=True)
    total: Float32Array = np.log(np.exp(logits - highest).sum(axis=-1)) + highest[..., 0]
    return total


def masked_copies(rows: list[list[int]], mask: int) -> tuple[list[list[int]], list[int], list[int]]:
    """Each row once for each token between its ends, which is masked; those tokens; how many each row has."""
    copies = [[*row[:place], mask, *row[place + 1 :]] for row in rows for place in range(1, len(row) - 1)]
    targets = [token for row in rows for token in row[1:-1]]
    return copies, targets, [len(row) - 2 for row in rows]


def example_ids(model: Model, rows: int = 2, length: int = 16) -> Int64Array:
    """Token ids to trace a network with, [rows, length]."""
    return np.random.default_rng(0).integers(
        1000 % model.config["vocab_size"], model.config["vocab_size"], (rows, length)
    )
