"""Sums -> the figures of targets at masks, and of texts without masks."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from maskedge.inference.metrics import bits_per_character, perplexity
from maskedge_batch.reports.bootstrap import Estimate, Resampling, ratio
from maskedge_batch.reports.grouping import Cell, group_sums
from maskedge_batch.reports.report import Accuracy, MaskedFigures, UnmaskedFigures
from maskedge_batch.reports.tables import Database

__all__ = ["RATED", "RATED_ROWS", "MaskedMeasure", "Measure", "UnmaskedMeasure", "figures_by"]

RATED = "(SELECT * FROM masks WHERE logprob IS NOT NULL)"
"""The masks with a target that was rated."""
RATED_ROWS = "(SELECT * FROM rows WHERE pll IS NOT NULL)"
"""The texts without masks that were scored."""

_UNITS = ("tokens", "words", "characters")

Figures = TypeVar("Figures", MaskedFigures, UnmaskedFigures, covariant=True)


class Measure(Protocol[Figures]):
    """The quantities that are summed, and what figures their sums give."""

    @property
    def quantities(self) -> Mapping[str, str]:
        """As `group_sums` takes them."""

    def of(self, cell: Cell) -> Figures:
        """The figures of one group, which has rows."""


class MaskedMeasure:
    """Of targets at masks."""

    def __init__(self, top_k: int) -> None:
        """`top_k` is how many predictions were kept for each mask."""
        self._ks = sorted({1, 5, *([top_k] if top_k > 1 else [])})
        hits = {f"top{k}": f"coalesce(rank <= {k}, false)::DOUBLE" for k in self._ks}
        self.quantities = {"loss": "-logprob", **hits}

    def of(self, cell: Cell) -> MaskedFigures:
        """The figures of one group of targets."""
        cross_entropy = cell.mean("loss")
        assert cross_entropy is not None
        return MaskedFigures(
            rows=cell.rows,
            targets=cell.count("loss"),
            cross_entropy=cross_entropy,
            perplexity=cross_entropy.map(_exp),
            accuracies=tuple(Accuracy(k, share) for k in self._ks if (share := cell.mean(f"top{k}"))),
        )


class UnmaskedMeasure:
    """Of texts without masks."""

    quantities: Mapping[str, str] = {
        "loss": "-pll",
        "tokens": "tokens::DOUBLE",
        "words": "words::DOUBLE",
        "characters": "characters::DOUBLE",
    }

    def of(self, cell: Cell) -> UnmaskedFigures:
        """The figures of one group of texts."""
        loss = cell.sums["loss"]
        per_token, per_word, per_character = (_per(unit, cell) for unit in _UNITS)
        assert per_token is not None
        return UnmaskedFigures(
            rows=cell.rows,
            tokens=_total(cell, "tokens") or 0,
            pll=-loss.value,
            pseudo_perplexity=per_token.map(_exp),
            words=_total(cell, "words"),
            pseudo_perplexity_per_word=per_word and per_word.map(_exp),
            characters=_total(cell, "characters"),
            bits_per_character=per_character and per_character.map(lambda nats: bits_per_character(-nats, 1)),
        )


def figures_by(
    database: Database, measure: Measure[Figures], source: str, key: str, resampling: Resampling
) -> dict[Any, Figures]:
    """The figures of each group."""
    cells = group_sums(database, source, measure.quantities, resampling, key=key).cells
    return {each: measure.of(cell) for each, cell in cells.items()}


def _per(unit: str, cell: Cell) -> Estimate | None:
    """Nats for each; None where not all texts say how many they have."""
    if cell.count(unit) < cell.count("loss"):
        return None
    return ratio(cell.sums["loss"], cell.sums[unit], cell.rows)


def _exp(cross_entropy: float) -> float:
    return perplexity(-cross_entropy, 1)


def _total(cell: Cell, quantity: str) -> int | None:
    """None where not every text has it."""
    return round(cell.sums[quantity].value) if cell.count(quantity) == cell.count("loss") else None
