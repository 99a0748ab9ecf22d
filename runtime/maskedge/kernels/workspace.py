"""What computes a batch at a time: calls of kernels, and the memory that they work in."""

import ctypes
from collections.abc import Sequence
from typing import Any

from maskedge.arrays import Float32Array
from maskedge.kernels import library
from maskedge.kernels.batch import Batch, Room
from maskedge.kernels.library import BatchCall, GridCall, RoundingCall
from maskedge.kernels.memory import Memory
from maskedge.kernels.packing import INNER, Term
from maskedge.kernels.pages import LINE, Bytes, up_to
from maskedge.kernels.plan import Plan, Rows, inputs_of
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Grid, Levels, Linear, Normalized, Value

__all__ = ["Workspace"]

NARROW = 1024
"""Levels in a row, up to which a product's weights stay in a cache of 2 MB while rows pass."""

NEAR = 512
"""Floats in a row, up to which those of a batch stay in that cache until they are added to what is made of them. Others
are added as the sum is normalized, row by row, as they come from farther away."""


def rows_together(inner: int) -> int:
    """Rows of a product that are normalized before the next are made, while they are in a cache. Where weights come
    from farther away for each such part, it is larger."""
    return 128 if inner <= NARROW else 256


class Workspace:
    """Computes batches up to some size. One at a time may use it.

    `kernels` names what is called for a batch, in order.
    """

    def __init__(self, plan: Plan, room: Room, has_amx: bool) -> None:
        self.room = room
        self._plan = plan
        self._has_amx = has_amx
        gathered = max(room.masks, room.gathered)
        self._memory = Memory(plan, {Rows.TOKENS: room.tokens, Rows.MASKS: room.masks, Rows.GATHERED: gathered})
        self._batch = BatchCall()
        self._program = library.ProgramCall(current=ctypes.addressof(self._batch), most=gathered)
        self.kernels: list[str] = []
        self._calls: list[library.Call] = []
        self._kept: list[Any] = []  # what other calls point to
        for value in plan.values:
            if value not in plan.gathered:
                self._add(value)
        for made in plan.to_be_gathered():
            self._gather(made)
        self._program.for_each = len(self._calls)
        for value in plan.values:
            if value in plan.gathered:
                self._add(value)
        calls = (library.Call * len(self._calls))(*self._calls)
        self._kept.append(calls)
        self._program.calls, self._program.count = ctypes.addressof(calls), len(calls)

    def logits(self, batch: Batch) -> Float32Array:
        """[masks, columns] those of a batch's masks. There may be more columns than tokens of the vocabulary. They are
        the workspace's, until its next batch."""
        self._run([batch], None)
        return self._memory.floats(self._plan.logits)[: batch.masks.size]

    def describe(self, batches: Sequence[Batch], wanted: library.DistributionCall, members: int = 1) -> None:
        """Computes what is wanted of the batches' masks, in one go, in which Python's other threads run on. So many
        threads do it together, no more than there is room for."""
        logits = self._memory.floats(self._plan.logits)
        wanted.logits, wanted.stride = logits.ctypes.data, logits.shape[1]
        wanted.tokens = self._plan.logits.weights.shape[1]
        self._run(batches, wanted, members)

    def logprobs(self, batch: Batch, wanted: library.DistributionCall, members: int = 1) -> Float32Array:
        """As `describe` does, and returns the logarithms of probabilities as `logits` returns those."""
        self.describe([batch], wanted, members)
        return self._memory.floats(self._plan.logits)[: batch.masks.size]

    def seconds(self, batch: Batch) -> list[float]:
        """What each of `kernels` takes of a batch's time."""
        spent = (ctypes.c_double * len(self.kernels))()
        self._program.seconds = ctypes.addressof(spent)
        try:
            self._run([batch], None)
        finally:
            self._program.seconds = None
        return list(spent)

    def _run(self, batches: Sequence[Batch], wanted: library.DistributionCall | None, members: int = 1) -> None:
        calls = (BatchCall * len(batches))(*[batch.call() for batch in batches])
        library.kernels().run_batches(self._program, calls, len(calls), wanted, members)

    def _add(self, value: Value) -> None:
        if self._plan.is_made_in_heads(value):
            return  # its attention makes it
        match value:
            case Embedded():
                self._embed(value)
            case Normalized():
                self._normalize(value)
            case Linear():
                self._multiply(value)
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
        pointer, normalized = self._memory.pointer, self._plan.normalized_at_once(value)
        call = library.EmbeddingCall(
            batch=ctypes.addressof(self._batch),
            tokens=pointer(self._plan.tokens[value]),
            token_scales=pointer(value.scales),
            position_rows=pointer(value.positions),
            out=self._memory.add_floats(value, 1 if normalized else None),
            normalization=normalized and self._normalization_at_once(normalized),
            width=self._plan.width(value),
        )
        self._call("embed_rows", call)

    def _normalize(self, value: Normalized) -> None:
        if self._plan.normalized_at_once(value.source) is None:
            numbers = self._memory.address(value.source)
            self._call("normalize_rows", self._normalization(value, numbers=numbers, out=self._place_of(value)))

    def _normalization(self, value: Normalized, **places: int | None) -> library.NormalizationCall:
        """Where numbers are, and where they go, is given."""
        return library.NormalizationCall(
            weight=self._memory.pointer(value.weight),
            bias=self._memory.pointer(value.bias),
            rows=self._rows(value),
            width=self._plan.width(value),
            epsilon=value.epsilon,
            rounding=self._rounding(self._plan.levels_at_once(value)),
            **places,
        )

    def _place_of(self, value: Normalized, added: Value | None = None) -> int | None:
        """Where its floats go: in place of what was added, if that is not needed again: it is in a cache by then."""
        if not self._plan.wants_floats(value):
            return None
        if added is not None and self._memory.is_last_use(added):
            return self._memory.add_in_place(value, added)
        return self._memory.add_floats(value)

    def _multiply(self, value: Linear) -> None:
        added = None if self._is_added_late(value) else self._address(value.added)
        goes_to = self._destination(value)  # which may be where the added is
        self._call("multiply", self._product(value, goes_to, added))

    def _is_added_late(self, value: Value) -> bool:
        """Whether what is added to a value is added as that is normalized."""
        return self._plan.normalized_at_once(value) is not None and self._plan.width(value) > NEAR

    def _product(self, value: Linear, goes_to: dict[str, Any], added: int | None = None) -> library.ProductCall:
        """Of two terms the second does the rest, once the first is added to it."""
        *others, last = self._plan.terms[value]
        kept = self._memory.levels(value.levels)
        if not others:
            return self._term(value, last, kept.first, goes_to | {"added": added})
        first = self._term(value, others[0], kept.first, {"added": added})
        self._kept.append(first)
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
        return gelu | {"out": out, "out_rows": rows, "normalization": self._normalization_at_once(normalized)}

    def _normalization_at_once(self, value: Normalized) -> int:
        """The address of what the kernel is told that makes what is normalized."""
        source = value.source
        added = source.added if isinstance(source, Linear) else None
        late = self._address(added) if self._is_added_late(source) else None
        call = self._normalization(value, added=late, out=self._place_of(value, added))
        self._kept.append(call)
        return ctypes.addressof(call)

    def _term(self, value: Linear, term: Term, levels: Bytes | None, more: dict[str, Any]) -> library.ProductCall:
        pointer = self._memory.pointer
        return library.ProductCall(
            levels=pointer(levels),
            weights=pointer(term.weights),
            rows=self._rows(value),
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
        scratch_bytes = up_to(LINE, library.kernels().scratch_of_attention(head_width, self.room.longest))
        scratch = self._memory.take(self.room.members * scratch_bytes)
        call = library.AttentionCall(
            queries=self._projection(value.queries, head_width),
            keys=self._projection(value.keys, head_width),
            values=self._projection(value.values, head_width),
            batch=ctypes.addressof(self._batch),
            at_masks=self._plan.at_masks(value),
            has_amx=self._has_amx,
            heads=value.heads,
            width=width,
            head_width=head_width,
            scale=head_width**-0.5,
            out=None if at_once else self._memory.add_floats(value),
            scratch=self._memory.pointer(scratch),
            scratch_bytes=scratch_bytes,
            rounding=self._rounding(at_once),
        )
        self._call("attend_texts", call)
        self._memory.give_back(scratch)

    def _projection(self, value: Value, head_width: int) -> library.ProjectionCall:
        if not (isinstance(value, Linear) and self._plan.is_made_in_heads(value)):
            return library.ProjectionCall(self._memory.address(value), self._plan.width(value))
        numbers, room = self._memory.add_heads(value, head_width, self.room.members)
        product = self._product(value, {"out": numbers, "has_gelu": value.has_gelu})
        self._kept.append(product)
        return library.ProjectionCall(numbers, head_width, ctypes.addressof(product), room)

    def _take(self, value: AtMasks) -> None:
        call = library.TakingCall(
            batch=ctypes.addressof(self._batch),
            numbers=self._memory.address(value.source),
            out=self._memory.add_floats(value),
            width=self._plan.width(value),
        )
        self._call("take_rows", call)

    def _gather(self, made: Value | Levels) -> None:
        for memory in self._memory.gather(made):
            call = library.GatheringCall(
                rows=self._count(Rows.MASKS),
                gathered=self._count(Rows.GATHERED),
                source=self._memory.pointer(memory.source),
                to=self._memory.pointer(memory.to),
                bytes=memory.row_bytes,
                in_blocks=memory.in_blocks,
            )
            self._call("gather_rows", call)
            self._memory.give_back(memory.source)

    def _round(self, levels: Levels) -> None:
        rounding = self._rounding(levels)
        call = library.RowRoundingCall(
            numbers=self._memory.address(levels.source),
            row_factors=self._memory.pointer(self._memory.levels(levels).row_factors),
            rows=self._rows(levels.source),
            width=self._plan.width(levels.source),
            least=levels.least or 0,
            rounding=rounding,
        )
        self._call("round_rows", call)

    def _call(self, name: str, call: Any) -> None:
        self._kept.append(call)
        self._calls.append(
            library.Call(ctypes.cast(getattr(library.kernels(), name), ctypes.c_void_p), ctypes.addressof(call))
        )
        self.kernels.append(name)

    def _address(self, value: Value | None) -> int | None:
        return None if value is None else self._memory.address(value)

    def _rows(self, value: Value) -> int:
        """The address of how many rows a value has."""
        return self._count(self._plan.rows_of(value))

    def _count(self, rows: Rows) -> int:
        """The address of how many there are."""
        match rows:
            case Rows.TOKENS:
                return ctypes.addressof(self._batch) + BatchCall.tokens.offset
            case Rows.MASKS:
                return ctypes.addressof(self._batch) + BatchCall.masks.offset
            case Rows.GATHERED:
                return ctypes.addressof(self._program) + library.ProgramCall.gathered.offset

    def _rounding(self, levels: Levels | None) -> RoundingCall:
        if levels is None:
            return RoundingCall()
        memory = self._memory.add_levels(levels)
        pointers = map(self._memory.pointer, (memory.first, memory.rest, levels.factors))
        columns = up_to(INNER, self._plan.width(levels.source))
        return RoundingCall(*pointers, columns, _grid(levels.grid), _grid(levels.rest or levels.grid))


def _grid(grid: Grid) -> GridCall:
    return GridCall(grid.scale, 1 / grid.scale, grid.zero_point, grid.lowest, grid.highest)
