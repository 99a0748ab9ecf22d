"""Small encoders of random steps, and what numpy makes of them, slowly and obviously."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.kernels.batch import Batch
from maskedge.kernels.steps import AtMasks, Attended, Embedded, Grid, Levels, Linear, Normalized, Value

__all__ = ["Drawn", "batch_of", "drawn_batch", "reference", "rounded"]

Floats = npt.NDArray[np.float32]


@dataclass
class Drawn:
    """Draws steps whose numbers are of ordinary sizes."""

    seed: int
    vocabulary: int = 100
    width: int = 64
    positions: int = 64
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def floats(self, *shape: int, scale: float = 1) -> Floats:
        """Normally distributed ones."""
        return (self.random.normal(size=shape) * scale).astype(np.float32)

    def integers(self, *shape: int) -> npt.NDArray[np.int8]:
        """Weights of 8 bits."""
        return self.random.integers(-127, 128, shape, np.int8)

    def embedded(self) -> Embedded:
        """Embeddings of tokens and positions."""
        scales = np.abs(self.floats(self.vocabulary, scale=0.02))
        return Embedded(self.integers(self.vocabulary, self.width), scales, self.floats(self.positions, self.width), 0)

    def levels(self, source: Value, grid: Grid | None = None, **more: Any) -> Levels:
        """Of numbers around 0."""
        return Levels(source, more.pop("factors", None), grid or Grid(0.03, 120), more.pop("least", None), **more)

    def linear(self, levels: Levels, inner: int, outer: int, **more: Any) -> Linear:
        """With weights that keep the size of numbers."""
        scales = np.abs(self.floats(outer, scale=0.01 / inner**0.5)) + np.float32(1e-4)
        bias = self.floats(outer, scale=0.1)
        return Linear(levels, self.integers(inner, outer), scales, bias, levels.rest is not None, **more)

    def normalized(self, source: Value) -> Normalized:
        """With a weight and a bias."""
        return Normalized(source, 1 + self.floats(self.width, scale=0.1), self.floats(self.width, scale=0.1), 1e-12)

    def layer(self, source: Value, heads: int, inner: int) -> Normalized:
        """One of an encoder, its feed-forward part `inner` wide."""
        levels = self.levels(source, factors=1 + self.floats(self.width, scale=0.1))
        queries, keys, values = (self.linear(levels, self.width, self.width) for _ in range(3))
        seen = self.levels(Attended(queries, keys, values, heads), rest=Grid(0.0003, 128))
        middle = self.normalized(self.linear(seen, self.width, self.width, added=source))
        up = self.linear(self.levels(middle), self.width, inner, has_gelu=True)
        down = self.levels(up, Grid(1 / 127, 128), least=1e-6)
        return self.normalized(self.linear(down, inner, self.width, added=middle))

    def encoder(self, layers: int, heads: int, inner: int) -> Linear:
        """Its logits at the masks."""
        value: Value = self.normalized(self.embedded())
        for _ in range(layers):
            value = self.layer(value, heads, inner)
        grid, rest = Grid(0.06, 60, 0, 127), Grid(0.0005, 64, 0, 127)
        return self.linear(self.levels(AtMasks(value), grid, rest=rest), self.width, self.vocabulary)


def batch_of(texts: list[list[int]], masks: list[list[int]]) -> Batch:
    """Texts by the ids of their tokens, with the places of their masks."""
    starts = np.cumsum([0, *map(len, texts)])
    rows = [start + mask for start, text in zip(starts, masks, strict=False) for mask in text]
    positions = np.concatenate([np.arange(len(text)) for text in texts])
    mask_starts = np.cumsum([0, *map(len, masks)])
    return Batch(np.concatenate(texts).astype(np.int64), positions, starts, mask_starts, np.array(rows))


def drawn_batch(seed: int, lengths: list[int], masks: int = 1, vocabulary: int = 100) -> Batch:
    """Random texts of these lengths."""
    random = np.random.default_rng(seed)
    texts = [random.integers(0, vocabulary, length).tolist() for length in lengths]
    return batch_of(texts, [sorted(random.choice(length, masks, replace=False).tolist()) for length in lengths])


def reference(value: Value, batch: Batch) -> Any:
    """[rows, width] a value's floats, of a batch's tokens or masks."""
    match value:
        case Embedded():
            scaled = value.tokens[batch.ids].astype(np.float32) * value.scales[batch.ids, np.newaxis]
            return scaled + value.positions[batch.positions]
        case AtMasks():
            return reference(value.source, batch)[batch.masks]
        case Normalized():
            return _normalized(value, reference(value.source, batch).astype(np.float64))
        case Attended():
            queries, keys, values = (reference(each, batch) for each in (value.queries, value.keys, value.values))
            return _attended(queries, keys, values, batch, value.heads)
        case Linear():
            return _linear(value, batch)


def _normalized(value: Normalized, numbers: Any) -> Any:
    off = numbers - numbers.mean(axis=1, keepdims=True)
    unit = off / np.sqrt((off**2).mean(axis=1, keepdims=True) + value.epsilon)
    return (unit * value.weight + (0 if value.bias is None else value.bias)).astype(np.float32)


def _attended(queries: Any, keys: Any, values: Any, batch: Batch, heads: int) -> Any:
    starts = batch.starts if len(queries) == len(keys) else batch.mask_starts
    out = np.zeros_like(queries)
    for text in range(batch.starts.size - 1):
        asking, tokens = (slice(*each[text : text + 2]) for each in (starts, batch.starts))
        for columns in np.split(np.arange(queries.shape[1]), heads):
            seen = queries[asking][:, columns].astype(np.float64) @ keys[tokens][:, columns].T / math.sqrt(len(columns))
            shares = np.exp(seen - seen.max(axis=1, keepdims=True))
            out[asking, columns[0] : columns[-1] + 1] = (
                shares / shares.sum(axis=1, keepdims=True) @ values[tokens][:, columns]
            )
    return out


def _linear(value: Linear, batch: Batch) -> Any:
    levels = value.levels
    numbers = reference(levels.source, batch)
    divisors = np.float32(1)
    if levels.least is not None:
        divisors = np.maximum(np.abs(numbers).max(axis=1, keepdims=True), np.float32(levels.least))
        numbers = numbers * (1 / divisors)
    if levels.factors is not None:
        numbers = numbers * levels.factors
    first = rounded(numbers, levels.grid)
    made = _product(first, levels.grid, value) * divisors
    if value.with_rest and levels.rest is not None:
        left = numbers - (first - levels.grid.zero_point) * np.float32(levels.grid.scale)
        made = made + _product(rounded(left, levels.rest), levels.rest, value)
    made = made if value.bias is None else made + value.bias
    made = made if value.added is None else made + reference(value.added, batch)
    return (_gelu(made) if value.has_gelu else made).astype(np.float32)


def rounded(numbers: Any, grid: Grid) -> Any:
    """Levels, as integers."""
    whole = np.rint(numbers * np.float32(1 / grid.scale)).astype(np.int64) + grid.zero_point
    return np.clip(whole, grid.lowest, grid.highest)


def _product(levels: Any, grid: Grid, value: Linear) -> Any:
    sums = (levels - grid.zero_point) @ value.weights.astype(np.int64)
    return sums * (value.scales * np.float32(grid.scale)).astype(np.float64)


def _gelu(numbers: Any) -> Any:
    return numbers * 0.5 * (1 + np.vectorize(math.erf)(numbers / math.sqrt(2)))
