"""A graph in the project's own kernels."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from maskedge.arrays import Float32Array, Int64Array
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import Outputs
from maskedge.bundle.padding import FREE_PADDING, MASKS_PER_BATCH, TOKENS_PER_BATCH, UNPADDED
from maskedge.errors import EngineError, UnsupportedGraphError
from maskedge.kernels.batch import Batch, Room
from maskedge.kernels.fitting import check_fit
from maskedge.kernels.graph_file import read_graph
from maskedge.kernels.library import DistributionCall, kernels
from maskedge.kernels.plan import Plan, plan_of
from maskedge.kernels.recognition import recognize
from maskedge.kernels.steps import Attended, Embedded
from maskedge.kernels.workspace import Workspace

__all__ = ["KernelGraph"]

CORE_CACHE = 2 << 20
"""Bytes of the nearer cache of a core of Intel's servers with AMX."""

TOKENS_PER_RUN = 4096
"""Most tokens that are given to the graph at once. They are computed in parts, one after another: Python is slow after
each run, as the caches then hold the weights."""

FEW_TOKENS = 512
"""Of a part where the model is small: its activations stay in that cache too. The bundled model computed a fifth more
tokens a second than with 1,024; a BERT-base, whose weights do not, a fifth fewer."""

MASKS_AT_ONCE = 128
"""Most masks of several parts that are computed together from where no other tokens are needed: the product with the
vocabulary takes hardly longer than for those of one part, as reading its weights takes longest. Logits of 30 thousand
tokens are 16 MB then."""

MOST_JOINING = 3
"""Most idle threads that join a call. With one a BERT-base's takes 0.55 of the time; of more nothing was measured, and
each waits for all. None joins where the model is small: starting it takes about as long as it saves."""

FEW = 64
"""So many of the most probable tokens are found by going through a distribution once; for more it is sorted."""


class KernelGraph:
    """An int8 graph of a BERT in the kernels. A call runs on its own thread, and on those that join it until it ends;
    several may run at once.

    Texts of any lengths share a batch, and padding is left out. A row's floats depend on the row alone. They are the
    same on every CPU that runs the kernels; of a long text, on every one that has AMX, or on every one without.

    Raises UnsupportedGraphError where the graph or the CPU is not one that the kernels are made for.
    """

    def __init__(
        self, path: Path, max_length: int | None = None, vocab_size: int | None = None, threads_per_batch: int = 1
    ) -> None:
        """`max_length` is the longest text, tokens; where None, texts of one length share a batch. No more than
        `vocab_size` tokens may have probabilities; any number where None. `threads_per_batch` compute each call."""
        if not cpu_features().avx512_vnni:
            raise UnsupportedGraphError("the engine kernels needs a CPU with AVX512-VNNI; take onnxruntime")
        try:
            kernels()
            graph = read_graph(path)
            self._plan: Plan = plan_of(recognize(graph), graph.leave_on_disk)
            check_fit(self._plan)
            if vocab_size is not None and self.vocab_size > vocab_size:
                raise ValueError(f"it has {self.vocab_size} tokens, and the vocabulary {vocab_size}")
        except (OSError, ValueError) as error:
            raise UnsupportedGraphError(f"the engine kernels cannot run {path}: {error}; take onnxruntime") from error
        self._has_amx = cpu_features().amx_int8
        self._threads_per_batch = threads_per_batch
        self._running: deque[int] = deque()  # a lock might be held as the process forks
        (self._embedded,) = (value for value in self._plan.values if isinstance(value, Embedded))
        self._idle: deque[Workspace] = deque()
        is_small = self._is_small()
        self._tokens_per_part = FEW_TOKENS if is_small else TOKENS_PER_BATCH
        self._most_joining = 0 if is_small else MOST_JOINING
        self.padding = replace(FREE_PADDING if max_length else UNPADDED, tokens=TOKENS_PER_RUN)

    @property
    def vocab_size(self) -> int:
        """Tokens that it gives probabilities to."""
        return int(self._plan.logits.weights.shape[1])

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        return self.prepared(outputs, inputs)()

    def prepared(self, outputs: list[str], inputs: dict[str, Int64Array], idle: int = 0) -> Callable[[], Outputs]:
        """As `run`, to be called once, from any thread. So many `idle` threads may join it, if no other call runs."""
        parts = _batch(inputs, self._embedded).parts(self._tokens_per_part, MASKS_PER_BATCH)
        room = reduce(Room.with_more, (part.room for part in parts))
        room = replace(room, gathered=min(sum(part.masks.size for part in parts), MASKS_AT_ONCE))
        target_ids = np.ascontiguousarray(inputs["target_ids"])
        if target_ids.size and not 0 <= target_ids.min() <= target_ids.max() < self.vocab_size:
            raise EngineError(f"the graph has {self.vocab_size} tokens, and another one is to be rated")
        found = Found.empty(inputs["mask_positions"].shape, int(inputs["top_k"][0]), target_ids)

        def run() -> Outputs:
            with self._members(idle) as members:
                workspace = self._workspace(replace(room, members=members))
                self._describe(workspace, parts, found, members)
            self._idle.append(workspace)
            described = found.outputs()
            return {name: described[name] for name in outputs}

        return run

    @contextmanager
    def _members(self, idle: int) -> Iterator[int]:
        """How many threads a call has, while it runs."""
        joining = 0 if self._running else min(idle, self._most_joining)
        self._running.append(idle)
        try:
            yield max(self._threads_per_batch, 1 + joining)
        finally:
            self._running.pop()

    def _describe(self, workspace: Workspace, parts: list[Batch], found: "Found", members: int) -> None:
        top_k = found.top_ids.shape[-1]
        if top_k <= FEW:
            workspace.describe(parts, found.call(0, top_k), members)
        else:
            self._describe_and_sort(workspace, parts, found, members)

    def _describe_and_sort(self, workspace: Workspace, parts: list[Batch], found: "Found", members: int) -> None:
        """So many of the most probable tokens that a distribution is sorted for them."""
        first, top_k = 0, found.top_ids.shape[-1]
        for part in parts:
            logprobs = workspace.logprobs(part, found.call(first, 0), members)[:, : self.vocab_size]
            best = np.argsort(-logprobs, axis=1, kind="stable")[:, :top_k]
            rows = slice(first, first + len(best))
            found.top_ids.reshape(-1, top_k)[rows] = best
            found.top_logprobs.reshape(-1, top_k)[rows] = np.take_along_axis(logprobs, best, axis=1)
            first = rows.stop

    def _is_small(self) -> bool:
        """Whether a layer's weights stay in a core's cache, so that a small batch is worth their reading too."""
        layers = sum(isinstance(value, Attended) for value in self._plan.values)
        products = (terms[0] for product, terms in self._plan.terms.items() if product is not self._plan.logits)
        return sum(term.weights.size for term in products) <= layers * CORE_CACHE

    def _workspace(self, room: Room) -> Workspace:
        try:
            idle = self._idle.pop()
        except IndexError:
            return Workspace(self._plan, room, self._has_amx)
        return idle if idle.room.holds(room) else Workspace(self._plan, idle.room.with_more(room), self._has_amx)


@dataclass(frozen=True, slots=True)
class Found:
    """What the graph gives, as the kernels fill it."""

    entropy: Float32Array  # [texts, masks]
    top_logprobs: Float32Array  # [texts, masks, top_k]
    top_ids: Int64Array
    target_ids: Int64Array  # [texts, masks, targets]
    target_logprobs: Float32Array
    larger: Int64Array
    """How many tokens are more probable than each target."""

    @classmethod
    def empty(cls, masks: tuple[int, ...], top_k: int, target_ids: Int64Array) -> "Found":
        """Before it is filled. `masks` is the shape of their positions."""
        return cls(
            np.empty(masks, np.float32),
            np.empty((*masks, top_k), np.float32),
            np.empty((*masks, top_k), np.int64),
            target_ids,
            np.empty(target_ids.shape, np.float32),
            np.empty(target_ids.shape, np.int64),
        )

    def call(self, first: int, count: int) -> DistributionCall:
        """Asks for what is found at the masks from the first on, with so many of the most probable tokens."""
        targets = self.target_ids.shape[-1]
        return DistributionCall(
            entropies=_address(self.entropy, first),
            count=count,
            values=_address(self.top_logprobs, first),
            places=_address(self.top_ids, first),
            targets=targets,
            target_ids=_address(self.target_ids, first * targets),
            target_values=_address(self.target_logprobs, first * targets),
            larger=_address(self.larger, first * targets),
        )

    def outputs(self) -> Outputs:
        """By the names that a graph gives them."""
        return {
            "entropy": self.entropy,
            "top_logprobs": self.top_logprobs,
            "top_ids": self.top_ids,
            "target_logprobs": self.target_logprobs,
            "target_ranks": self.larger + 1,
        }


def _address(array: Float32Array | Int64Array, element: int) -> int:
    return array.ctypes.data + element * array.itemsize


def _batch(inputs: dict[str, Int64Array], embedded: Embedded) -> Batch:
    """The texts of a batch without their padding. Raises EngineError for what has no row to be looked up."""
    ids, masks = inputs["input_ids"], inputs["mask_positions"]
    texts, longest = ids.shape
    lengths = inputs.get("lengths", np.full(texts, longest))
    own = np.arange(longest) < lengths[:, np.newaxis]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    batch = Batch(
        ids=ids[own],
        positions=_positions(embedded, ids)[own],
        starts=starts,
        mask_starts=np.arange(texts + 1) * masks.shape[1],
        masks=(starts[:-1, np.newaxis] + masks).ravel(),
    )
    for found, rows in ((batch.ids, len(embedded.tokens)), (batch.positions, len(embedded.positions))):
        if found.min() < 0 or found.max() >= rows:
            raise EngineError(f"a text asks for row {found.max()} of an embedding that has {rows}")
    if masks.min() < 0 or (masks >= lengths[:, np.newaxis]).any():
        raise EngineError(f"a mask is outside of its text, at {masks.max()}")
    return batch


def _positions(embedded: Embedded, ids: Int64Array) -> Int64Array:
    """[texts, longest] the row of each token's position."""
    if embedded.padding is None:
        return np.broadcast_to(embedded.first_position + np.arange(ids.shape[1]), ids.shape)
    counted = (ids != embedded.padding).astype(np.int64)
    rows: Int64Array = embedded.first_position + np.cumsum(counted, axis=1) * counted
    return rows
