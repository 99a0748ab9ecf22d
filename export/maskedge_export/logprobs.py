"""What models say of batches: PyTorch's, a graph's, and answers kept on disk."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskedge.engine import Graph
from maskedge.threads import usable_cpus
from maskedge_export.calibration import Batch

__all__ = ["FloatArray", "Logprobs", "at_once", "graph_logprobs", "kept", "model_logprobs"]

FloatArray = npt.NDArray[np.float64]
Logprobs = Callable[[Iterable[Batch]], Iterator[FloatArray]]
"""Batches -> for each, in their order, log-probabilities [batch, vocabulary] at its one mask a row."""

MOST_AT_ONCE = 4
"""Batches: answers over a large vocabulary fill the memory."""


def at_once(answer: Callable[[Batch], FloatArray]) -> Logprobs:
    """A function of one batch as one of many, of which it is asked several at once, each in a thread of its own."""
    threads = min(usable_cpus(), MOST_AT_ONCE)

    def answers(batches: Iterable[Batch]) -> Iterator[FloatArray]:
        upcoming: deque[Future[FloatArray]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for batch in batches:
                upcoming.append(pool.submit(answer, batch))
                if len(upcoming) > threads:
                    yield upcoming.popleft().result()
            while upcoming:
                yield upcoming.popleft().result()

    return answers


def graph_logprobs(graph: Graph, vocab_size: int) -> Logprobs:
    """A bundle's graph as a function of batches."""

    def logprobs(batch: Batch) -> FloatArray:
        inputs = {
            "input_ids": batch.input_ids,
            "mask_positions": batch.mask_positions,
            "target_ids": batch.targets[:, :, np.newaxis],
            "top_k": np.array([vocab_size]),
        }
        outputs = graph.run(["top_ids", "top_logprobs"], inputs)
        result = np.empty((len(batch.input_ids), vocab_size))
        np.put_along_axis(result, np.asarray(outputs["top_ids"][:, 0], np.int64), outputs["top_logprobs"][:, 0], axis=1)
        return result

    return at_once(logprobs)


def model_logprobs(model: Callable[[Tensor], Any], vocab_size: int | None = None) -> Logprobs:
    """A transformers model as a function of batches, asked of one at a time, on all cores; of its vocabulary only the
    first `vocab_size` tokens."""

    @torch.no_grad()
    def logprobs(batch: Batch) -> FloatArray:
        logits = model(torch.from_numpy(batch.input_ids)).logits
        at_masks = logits[torch.arange(len(logits)), torch.from_numpy(batch.mask_positions[:, 0])]
        return np.asarray(torch.log_softmax(at_masks.double(), -1)[:, :vocab_size].numpy())

    return lambda batches: map(logprobs, batches)


def kept(logprobs: Logprobs, batches: Iterable[Batch], directory: Path) -> Logprobs:
    """A model's answers to these batches, kept in a new directory, so that the model need not stay in memory until
    all that it is compared with is there."""
    directory.mkdir()
    batches = list(batches)
    for batch, answer in zip(batches, logprobs(batches), strict=True):
        single = answer.astype(np.float32)  # half the space, where it says the same
        np.save(_answer_file(directory, batch), single if np.array_equal(single, answer) else answer)
    return lambda batches: (np.asarray(np.load(_answer_file(directory, batch)), np.float64) for batch in batches)


def _answer_file(directory: Path, batch: Batch) -> Path:
    texts = np.concatenate([batch.input_ids, batch.mask_positions], axis=1)
    return directory / f"{sha256(texts.tobytes() + str(texts.shape).encode()).hexdigest()}.npy"
