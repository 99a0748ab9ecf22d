"""What an encoder computes, in the steps that the kernels make of it."""

from dataclasses import dataclass

from maskedge.arrays import Float32Array, Int8Array

__all__ = ["AtMasks", "Attended", "Embedded", "Grid", "Levels", "Linear", "Normalized", "Value"]


@dataclass(frozen=True, eq=False, slots=True)
class Embedded:
    """[tokens, width] the embedding of each token, plus that of its position."""

    tokens: Int8Array  # [vocabulary, width]
    scales: Float32Array  # [vocabulary]
    positions: Float32Array  # [positions, width]
    first_position: int
    padding: int | None = None
    """Where given, tokens are counted but those with this id, from 1; those themselves have number 0."""


@dataclass(frozen=True, eq=False, slots=True)
class Normalized:
    """Layer normalization of each row."""

    source: "Value"
    weight: Float32Array  # [width]
    bias: Float32Array | None  # [width]
    epsilon: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that levels of 8 bits stand for: (level - zero_point) * scale."""

    scale: float
    zero_point: int
    lowest: int = 0
    highest: int = 255


@dataclass(eq=False, slots=True)
class Levels:
    """A value's numbers as levels: what a product multiplies."""

    source: "Value"
    factors: Float32Array | None  # [width], by which columns are multiplied first
    grid: Grid
    least: float | None
    """Where rows are divided by their largest size first: the least that they are divided by."""
    rest: Grid | None = None
    """Of a second term, where one is wanted: levels of what the first left of each number."""


@dataclass(frozen=True, eq=False, slots=True)
class Linear:
    """A product of levels and weights, with what is done to it at once."""

    levels: Levels
    weights: Int8Array  # [inner, outer]
    scales: Float32Array  # [outer]
    bias: Float32Array | None = None  # [outer]
    with_rest: bool = False
    """Whether it is the sum over both terms of the levels."""
    has_gelu: bool = False
    added: "Value | None" = None


@dataclass(frozen=True, eq=False, slots=True)
class Attended:
    """Attention of each text's queries to all its tokens."""

    queries: "Value"
    keys: "Value"
    values: "Value"
    heads: int


@dataclass(frozen=True, eq=False, slots=True)
class AtMasks:
    """[masks, width] the rows of the tokens that are masked."""

    source: "Value"


Value = Embedded | Normalized | Linear | Attended | AtMasks
"""Floats [rows, width]; rows are tokens, or masks."""
