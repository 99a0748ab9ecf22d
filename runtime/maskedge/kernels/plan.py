"""In which order steps are computed, and which of them become levels as they are made."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from maskedge.arrays import Int8Array
from maskedge.kernels.packing import Term, packed_terms, packed_tokens
from maskedge.kernels.pages import Pages
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Levels, Linear, Normalized, Value

__all__ = ["Plan", "Rows", "inputs_of", "plan_of", "value_of"]


class Rows(Enum):
    """Of a value."""

    TOKENS = auto()
    MASKS = auto()
    GATHERED = auto()
    """The masks of several batches."""


@dataclass(slots=True)
class Plan:
    """The steps of an encoder in order, with their packed weights."""

    logits: Linear
    values: list[Value] = field(default_factory=list)
    """Each after those that it is made of."""
    terms: dict[Linear, list[Term]] = field(default_factory=dict)
    tokens: dict[Embedded, Int8Array] = field(default_factory=dict)
    users: dict[Value | Levels, list[Value]] = field(default_factory=lambda: defaultdict(list))
    """What is made of a value's floats, or of levels."""
    levels: dict[Value, list[Levels]] = field(default_factory=lambda: defaultdict(list))
    """Those that are made of a value."""
    gathered: set[Value] = field(default_factory=set)
    """Values that are made of masks alone, so that those of several batches can be made at once."""

    def levels_at_once(self, value: Value) -> Levels | None:
        """The levels that the kernel makes that makes the value. A product or an attention writes floats or levels."""
        by_column = [levels for levels in self.levels[value] if levels.least is None]
        if not by_column or isinstance(value, Embedded | AtMasks):
            return None
        alone = not self.users[value] and len(self.levels[value]) == 1
        return by_column[0] if alone or isinstance(value, Normalized) else None

    def normalized_at_once(self, value: Value) -> Normalized | None:
        """The normalization that the kernel does that makes a value, where nothing else is made of it."""
        users = self.users[value]
        alone = len(users) == 1 and not self.levels[value] and isinstance(value, Linear | Embedded)
        return users[0] if alone and isinstance(users[0], Normalized) else None

    def is_made_in_heads(self, value: Value) -> bool:
        """Whether an attention makes a product, a head at a time, as nothing else is made of it."""
        users = self.users[value]
        alone = len(users) == 1 and isinstance(users[0], Attended) and not self.levels[value]
        return alone and isinstance(value, Linear) and value.added is None

    def wants_floats(self, value: Value) -> bool:
        """Whether anything is made of a value's floats."""
        return bool(self.users[value]) or any(levels is not self.levels_at_once(value) for levels in self.levels[value])

    def rows_of(self, value: Value) -> Rows:
        """Which rows a value has."""
        if value in self.gathered:
            return Rows.GATHERED
        return Rows.MASKS if self.at_masks(value) else Rows.TOKENS

    def to_be_gathered(self) -> list[Value | Levels]:
        """What is made of a batch, and others are made of once it is gathered."""
        found = {source: None for value in self.values if value in self.gathered for source in inputs_of(value)}
        return [source for source in found if value_of(source) not in self.gathered]

    def width(self, value: Value) -> int:
        """Floats in a row of a value: those of its columns, and of a product's up to the next whole tile."""
        match value:
            case Embedded():
                return int(value.tokens.shape[1])
            case Normalized():
                return int(value.weight.size)
            case Linear():
                return self.terms[value][0].outer
            case Attended():
                return self.width(value.queries)
            case AtMasks():
                return self.width(value.source)

    def at_masks(self, value: Value) -> bool:
        """Whether a value's rows are masks, and not tokens."""
        match value:
            case Embedded():
                return False
            case AtMasks():
                return True
            case Normalized():
                return self.at_masks(value.source)
            case Linear():
                return self.at_masks(value.levels.source)
            case Attended():
                return self.at_masks(value.queries)


def plan_of(logits: Linear, after_packing: Callable[[], object] = lambda: None) -> Plan:
    """The plan of a graph by its last step. Calls a function whenever it has packed a product's weights."""
    plan = Plan(logits)
    _add(plan, logits, Pages(), after_packing)
    plan.users[logits].append(logits)  # who asks wants the logits
    plan.gathered.update(_gathered(plan))
    return plan


def _add(plan: Plan, value: Value, pages: Pages, after_packing: Callable[[], object]) -> None:
    if value in plan.values:
        return
    for source in inputs_of(value):
        made_of = value_of(source)
        _add(plan, made_of, pages, after_packing)
        if isinstance(source, Levels) and source not in plan.levels[made_of]:
            plan.levels[made_of].append(source)
        plan.users[source].append(value)
    if isinstance(value, Linear):
        plan.terms[value] = packed_terms(value, pages)
        after_packing()
    if isinstance(value, Embedded):
        plan.tokens[value] = packed_tokens(value, pages)
        after_packing()
    plan.values.append(value)


def _gathered(plan: Plan) -> list[Value]:
    for_each: set[Value] = set()
    for value in reversed(plan.values):
        if value in for_each or isinstance(value, AtMasks | Attended) or not plan.at_masks(value):
            for_each.update([value, *map(value_of, inputs_of(value))])
    return [value for value in plan.values if value not in for_each]


def value_of(source: Value | Levels) -> Value:
    """What levels are made of, or the value itself."""
    return source.source if isinstance(source, Levels) else source


def inputs_of(value: Value) -> list[Value | Levels]:
    """What a value is made of."""
    match value:
        case Embedded():
            return []
        case Normalized() | AtMasks():
            return [value.source]
        case Attended():
            return [value.queries, value.keys, value.values]
        case Linear():
            return [value.levels, *([value.added] if value.added is not None else [])]
