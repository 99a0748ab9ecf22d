"""A batch of texts, and what computes one at a time: calls of kernels, and the memory that they work in."""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskedge.arrays import Float32Array, Int64Array
from maskedge.kernels import library
from maskedge.kernels.library import GridCall, RoundingCall
from maskedge.kernels.memory import BEYOND, Memory
from maskedge.kernels.packing import INNER, OUTER, Term
from maskedge.kernels.pages import Bytes, up_to
from maskedge.kernels.plan import Plan, inputs_of
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Grid, Levels, Linear, Normalized, Value

__all__ = ["Batch", "Room", "Workspace"]

NARROW = 1024
"""Levels in a row, up to which a product's weights stay in a cache of 2 MB while rows pass."""


def rows_together(inner: int) -> int:
    """Rows of a product that are normalized before the next are made, while they are in a cache. Where weights come
    from farther away for each such part, it is larger."""
    return 128 if inner <= NARROW else 256


@dataclass(frozen=True, slots=True)
class Room:
    """The most of each that a workspace takes."""

    tokens: int
    masks: int
    texts: int
    longest: int
    """Tokens of a text."""

    def holds(self, other: "Room") -> bool:
        """Whether it is at least as large."""
        return self == self.with_more(other)

    def with_more(self, other: "Room") -> "Room":
        """The larger of each."""
        tokens, masks = max(self.tokens, other.tokens), max(self.masks, other.masks)
        return Room(tokens, masks, max(self.texts, other.texts), max(self.longest, other.longest))


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts without padding, one after another."""

    ids: Int64Array  # [tokens]
    positions: Int64Array  # [tokens], rows of their embedding
    starts: Int64Array  # [texts + 1], the first token of each text
    mask_starts: Int64Array  # [texts + 1], the first mask of each text
    masks: Int64Array  # [masks], rows of tokens

    @property
    def room(self) -> Room:
        """What it takes."""
        return Room(self.ids.size, self.masks.size, self.starts.size - 1, int(np.diff(self.starts).max()))


class Workspace:
    """Computes batches up to some size. One at a time may use it.

    `kernels` names what is called for a batch, in order.
    """

    def __init__(self, plan: Plan, room: Room, has_amx: bool) -> None:
        self.room = room
        self._plan = plan
        self._has_amx = has_amx
        self._memory = Memory(plan, room.tokens, room.masks)
        self._ids, self._positions, self._masks = (
            np.zeros(size, np.int64) for size in (room.tokens, room.tokens, room.masks)
        )
        self._starts, self._mask_starts = (np.zeros(room.texts + 1, np.int32) for _ in range(2))
        self.kernels: list[str] = []
        self._calls: list[library.Call] = []
        self._rows: list[tuple[Any, bool]] = []  # structures, and whether their rows are masks
        self._attentions: list[library.AttentionCall] = []
        self._kept: list[Any] = []  # what other calls point to
        for value in plan.values:
            self._add(value)
        self._append("describe_rows", 0)
        self._program = (library.Call * len(self._calls))(*self._calls)

    def logits(self, batch: Batch, wanted: library.DistributionCall | None = None) -> Float32Array:
        """[masks, columns] those of a batch's masks; where something is wanted of them, it is computed in the same go,
        in which Python's other threads run on, and they become logarithms of probabilities. There may be more columns
        than tokens of the vocabulary. They are the workspace's, until its next batch."""
        self._take_up(batch)
        logits = self._memory.floats(self._plan.logits)[: batch.masks.size]
        calls = len(self._program)
        if wanted is None:
            calls -= 1
        else:
            wanted.logits, (wanted.rows, wanted.stride) = logits.ctypes.data, logits.shape
            wanted.tokens = self._plan.logits.weights.shape[1]
            self._program[-1].argument = ctypes.addressof(wanted)
        library.kernels().run_calls(self._program, calls)
        return logits

    def _take_up(self, batch: Batch) -> None:
        for mine, given in (
            (self._ids, batch.ids),
            (self._positions, batch.positions),
            (self._masks, batch.masks),
            (self._starts, batch.starts),
            (self._mask_starts, batch.mask_starts),
        ):
            mine[: given.size] = given
        sizes = {False: batch.ids.size, True: batch.masks.size}
        for call, at_masks in self._rows:
            call.rows = sizes[at_masks]
        for attention in self._attentions:
            attention.texts = batch.starts.size - 1

    def _add(self, value: Value) -> None:
        if self._plan.is_made_in_heads(value):
            return  # its attention makes it
        match value:
            case Embedded():
                self._embed(value)
            case Normalized():
                if self._plan.normalized_at_once(value.source) is None:
                    self._call("normalize_rows", self._normalization(value, self._memory.address(value.source)), value)
            case Linear():
                self._call("multiply", self._product(value, self._destination(value)), value)
            case Attended():
                self._attend(value)
            case AtMasks():
                self._take(value)
        for levels in self._plan.levels[value]:
            if levels is not self._plan.levels_at_once(value):
                self._round(levels)
        self._have_used(value)

    def _have_used(self, value: Value) -> None:
        for source in inputs_of(value):
            if isinstance(source, Linear) and self._plan.is_made_in_heads(source):
                self._have_used(source)
            self._memory.used(source)

    def _embed(self, value: Embedded) -> None:
        pointer = self._memory.pointer
        call = library.EmbeddingCall(
            ids=pointer(self._ids),
            positions=pointer(self._positions),
            tokens=pointer(value.tokens),
            token_scales=pointer(value.scales),
            position_rows=pointer(value.positions),
            out=self._memory.add_floats(value),
            width=self._plan.width(value),
        )
        self._call("embed_rows", call, value)

    def _normalization(self, value: Normalized, numbers: int | None) -> library.NormalizationCall:
        return library.NormalizationCall(
            numbers=numbers,
            weight=self._memory.pointer(value.weight),
            bias=self._memory.pointer(value.bias),
            out=self._memory.add_floats(value) if self._plan.wants_floats(value) else None,
            width=self._plan.width(value),
            epsilon=value.epsilon,
            rounding=self._rounding(self._plan.levels_at_once(value)),
        )

    def _product(self, value: Linear, goes_to: dict[str, Any]) -> library.ProductCall:
        """Of two terms the second does the rest, once the first is added to it."""
        *others, last = self._plan.terms[value]
        kept = self._memory.levels(value.levels)
        added = None if value.added is None else self._memory.address(value.added)
        if not others:
            return self._term(value, last, kept.first, goes_to | {"added": added})
        first = self._term(value, others[0], kept.first, {"added": added})
        self._keep(first, value)
        return self._term(value, last, kept.rest, goes_to | {"first": ctypes.addressof(first)})

    def _destination(self, value: Linear) -> dict[str, Any]:
        """Members of a product's call that say what becomes of it."""
        levels, normalized = self._plan.levels_at_once(value), self._plan.normalized_at_once(value)
        gelu = {"has_gelu": value.has_gelu}
        if levels is not None:
            return gelu | {"rounding": self._rounding(levels)}
        if normalized is None:
            return gelu | {"out": self._memory.add_floats(value)}
        rows = rows_together(self._plan.terms[value][0].inner)
        out = self._memory.add_floats(value, rows)
        call = self._normalization(normalized, None)
        self._kept.append(call)
        return gelu | {"out": out, "out_rows": rows, "normalization": ctypes.addressof(call)}

    def _term(self, value: Linear, term: Term, levels: Bytes | None, more: dict[str, Any]) -> library.ProductCall:
        pointer = self._memory.pointer
        return library.ProductCall(
            levels=pointer(levels),
            weights=pointer(term.weights),
            inner=term.inner,
            outer=term.outer,
            scales=pointer(term.scales),
            shifts=pointer(term.shifts),
            row_factors=pointer(self._memory.levels(value.levels).row_factors),
            bias=pointer(term.bias),
            has_amx=self._has_amx,
            **more,
        )

    def _attend(self, value: Attended) -> None:
        at_once, width = self._plan.levels_at_once(value), self._plan.width(value)
        head_width = width // value.heads
        scratch = self._memory.take(4 * (2 * head_width + BEYOND) * up_to(OUTER, self.room.longest))
        call = library.AttentionCall(
            queries=self._projection(value.queries, head_width),
            keys=self._projection(value.keys, head_width),
            values=self._projection(value.values, head_width),
            query_starts=self._memory.pointer(self._mask_starts if self._plan.at_masks(value) else self._starts),
            starts=self._memory.pointer(self._starts),
            heads=value.heads,
            width=width,
            head_width=head_width,
            scale=head_width**-0.5,
            out=None if at_once else self._memory.add_floats(value),
            scratch=self._memory.pointer(scratch),
            rounding=self._rounding(at_once),
        )
        self._attentions.append(call)
        self._call("attend_texts", call, value)
        self._memory.give_back(scratch)

    def _projection(self, value: Value, head_width: int) -> library.ProjectionCall:
        if not (isinstance(value, Linear) and self._plan.is_made_in_heads(value)):
            return library.ProjectionCall(self._memory.address(value), self._plan.width(value))
        numbers = self._memory.add_head(value, head_width)
        product = self._product(value, {"out": numbers, "has_gelu": value.has_gelu})
        self._keep(product, value)
        return library.ProjectionCall(numbers, head_width, ctypes.addressof(product))

    def _take(self, value: AtMasks) -> None:
        call = library.TakingCall(
            numbers=self._memory.address(value.source),
            tokens=self._memory.pointer(self._masks),
            out=self._memory.add_floats(value),
            width=self._plan.width(value),
        )
        self._call("take_rows", call, value)

    def _round(self, levels: Levels) -> None:
        rounding = self._rounding(levels)
        call = library.RowRoundingCall(
            numbers=self._memory.address(levels.source),
            row_factors=self._memory.pointer(self._memory.levels(levels).row_factors),
            width=self._plan.width(levels.source),
            least=levels.least or 0,
            rounding=rounding,
        )
        self._call("round_rows", call, levels.source)

    def _call(self, name: str, call: Any, value: Value) -> None:
        self._keep(call, value)
        self._append(name, ctypes.addressof(call))

    def _keep(self, call: Any, value: Value) -> None:
        self._kept.append(call)
        if hasattr(call, "rows"):
            self._rows.append((call, self._plan.at_masks(value)))

    def _append(self, name: str, argument: int) -> None:
        kernel = ctypes.cast(getattr(library.kernels(), name), ctypes.c_void_p)
        self._calls.append(library.Call(kernel, argument))
        self.kernels.append(name)

    def _rounding(self, levels: Levels | None) -> RoundingCall:
        if levels is None:
            return RoundingCall()
        memory = self._memory.add_levels(levels)
        pointers = map(self._memory.pointer, (memory.first, memory.rest, levels.factors))
        columns = up_to(INNER, self._plan.width(levels.source))
        return RoundingCall(*pointers, columns, _grid(levels.grid), _grid(levels.rest or levels.grid))


def _grid(grid: Grid) -> GridCall:
    return GridCall(grid.scale, 1 / grid.scale, grid.zero_point, grid.lowest, grid.highest)
