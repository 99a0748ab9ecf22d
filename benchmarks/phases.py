"""What the kernels take of a batch's time, by what they make."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from maskedge.bundle.cpu import cpu_features
from maskedge.kernels.batch import Batch
from maskedge.kernels.graph_file import read_graph
from maskedge.kernels.plan import plan_of
from maskedge.kernels.recognition import recognize
from maskedge.kernels.workspace import Workspace

__all__ = ["phase_seconds"]

EMBEDDINGS, ATTENTION = "embeddings", "queries, keys, values, and attention to them"
AFTER_ATTENTION = (
    "the product with what was attended to, and its normalization",
    "the product into the wide layer, and GELU",
    "the product back from it, and its normalization",
)
AT_MASKS = "the last layer and the vocabulary, at masks"


def phase_seconds(graph: Path, rows: int, length: int, rounds: int) -> dict[str, float]:
    """Seconds of each phase of a BERT's batch of rows with a mask each, all by itself on one thread."""
    file, batch = read_graph(graph), batch_of(rows, length)
    workspace = Workspace(plan_of(recognize(file), file.leave_on_disk), batch.room, cpu_features().amx_int8)
    turns = [workspace.seconds(batch) for _ in range(rounds + 1)][1:]
    spent: Counter[str] = Counter()
    for phase, seconds in zip(phases(workspace.kernels), zip(*turns, strict=True), strict=True):
        spent[phase] += statistics.median(seconds)
    return dict(spent)


def phases(kernels: Iterable[str]) -> Iterator[str]:
    """What each kernel is part of, in the order of a BERT's layers."""
    phase, products = EMBEDDINGS, iter(AFTER_ATTENTION)
    for name in kernels:
        if phase == AT_MASKS or name == "take_rows":
            phase = AT_MASKS
        elif name == "attend_texts":
            phase, products = ATTENTION, iter(AFTER_ATTENTION)
        elif name == "multiply":
            phase = next(products)
        yield phase


def batch_of(rows: int, length: int) -> Batch:
    """Texts of one length, of any tokens."""
    first = np.arange(rows + 1) * length
    return Batch(
        ids=np.random.default_rng(0).integers(1000, 8000, rows * length),
        positions=np.tile(np.arange(length), rows),
        starts=first,
        mask_starts=np.arange(rows + 1),
        masks=first[:-1] + length // 2,
    )
