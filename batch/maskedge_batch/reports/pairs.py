"""The report on minimal pairs, as a frozen value, made from the scored file alone."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from maskedge import TextStatus
from maskedge_batch.errors import InputError
from maskedge_batch.evaluation.pairs import PairScoring
from maskedge_batch.reports.accuracy import Accuracy, MeanAccuracy, mean_accuracy
from maskedge_batch.reports.run import ModelRun
from maskedge_batch.scoring.columns import text_bytes

__all__ = ["GroupedPairs", "PairExample", "PairsReport", "PairsRun", "measure_pairs"]

EXAMPLES = 10
"""Pairs that are shown as those in which the bad sentence was preferred most."""
EXCERPT_CHARACTERS = 200
MOST_GROUPS = 10_000
"""More are no grouping, and would take memory that grows with the file."""
NO_GROUP = "\N{EN DASH}"
"""Stands for the pairs whose group is null."""

DEFINITIONS = {
    "accuracy": "Share of the scored pairs in which the good sentence has the higher score. A tie counts as wrong, as "
    "in BLiMP (Warstadt et al. 2020). Beside it the 95 % score interval (Wilson 1927).",
    "score": "The sentence's pseudo-log-likelihood (Salazar et al. 2020): the sum of its tokens' log-probabilities, "
    "each masked in turn, nats; or that sum divided by the sentence's tokens or characters, where the run says so.",
    "within_word_l2r": "The later tokens of the same word are masked too (Kauf & Ivanova 2023).",
    "mean of groups": "The mean of the groups' accuracies, each counting the same. Its 95 % interval is the percentile "
    "bootstrap over whole groups; of few groups it is too narrow, and fewer than 5 have none.",
    "margin": "The good sentence's score less the bad one's.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsRun(ModelRun):
    """What was compared, with what."""

    output: str
    scoring: PairScoring


@dataclass(frozen=True, slots=True)
class PairExample:
    """A pair that is shown in the report."""

    row: int
    """Index in the input; the first row is 0."""
    good: str
    """At most `EXCERPT_CHARACTERS` of the sentence."""
    bad: str
    margin: float


@dataclass(frozen=True, slots=True)
class GroupedPairs:
    """The accuracies of the groups that a column divides the pairs into."""

    column: str
    groups: Mapping[str, Accuracy]
    """By the column's value, in the order of the values."""
    mean: MeanAccuracy


@dataclass(frozen=True, slots=True)
class PairsReport:
    """All that the report on minimal pairs says."""

    run: PairsRun
    pairs: int
    """Rows of the input."""
    set_aside: Mapping[str, int]
    """Pairs by the reason why they were not scored, most frequent first."""
    overall: Accuracy | None
    """Of all scored pairs; None where none was."""
    grouped: tuple[GroupedPairs, ...]
    """One for each column that was asked about."""
    most_wrong: tuple[PairExample, ...]
    """The pairs in which the bad sentence was preferred most, the worst first."""
    definitions: Mapping[str, str]


@dataclass(slots=True)
class _Tally:
    """Counts of one group of pairs."""

    pairs: int = 0
    correct: int = 0
    ties: int = 0

    def add(self, margin: float, correct: bool) -> None:
        self.pairs += 1
        self.correct += correct
        self.ties += margin == 0

    def accuracy(self) -> Accuracy:
        return Accuracy(self.pairs, self.correct, self.ties)


@dataclass(slots=True)
class _Tallies:
    """Counts of all pairs, gathered batch by batch."""

    scoring: PairScoring
    by: Sequence[str]
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    overall: _Tally = field(default_factory=_Tally)
    groups: dict[str, defaultdict[str, _Tally]] = field(default_factory=dict)
    wrong: list[PairExample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.groups = {column: defaultdict(_Tally) for column in self.by}

    def add(self, batch: pa.RecordBatch) -> None:
        self.statuses.update(_values(batch, "mlm_status"))
        names = {column: _names(batch.column(column)) for column in self.by}
        verdicts = zip(_values(batch, "mlm_margin"), _values(batch, "mlm_correct"), strict=True)
        for row, (margin, correct) in enumerate(verdicts):
            if margin is not None:
                for tally in (self.overall, *(self.groups[column][names[column][row]] for column in self.by)):
                    tally.add(margin, correct)
        self._check_groups()
        self._keep_wrong(batch)
        self.rows += batch.num_rows

    def _check_groups(self) -> None:
        for column, groups in self.groups.items():
            if len(groups) > MOST_GROUPS:
                raise InputError(
                    f"The column {column!r} divides the pairs into more than {MOST_GROUPS:,} groups: name one of fewer "
                    "values with --by."
                )

    def _keep_wrong(self, batch: pa.RecordBatch) -> None:
        margins = enumerate(_values(batch, "mlm_margin"))
        worst = heapq.nsmallest(
            EXAMPLES, [(margin, row) for row, margin in margins if margin is not None and margin < 0]
        )
        shown = [self._example(batch, *pair) for pair in worst]
        self.wrong = heapq.nsmallest(EXAMPLES, [*self.wrong, *shown], key=lambda one: (one.margin, one.row))

    def _example(self, batch: pa.RecordBatch, margin: float, row: int) -> PairExample:
        good, bad = (
            (text_bytes(batch.column(name).slice(row, 1))[0] or b"").decode()[:EXCERPT_CHARACTERS]
            for name in (self.scoring.good, self.scoring.bad)
        )
        return PairExample(self.rows + row, good, bad, margin)


def measure_pairs(batches: Iterator[pa.RecordBatch], run: PairsRun, by: Sequence[str] = ()) -> PairsReport:
    """The report on scored pairs.

    Args:
        batches: As `score_pairs` yields them, or as they are read from the file that holds them.
        run: What was compared.
        by: Columns that divide the pairs into groups.

    Raises:
        InputError: A column has too many values to be one of groups.
    """
    tallies = _Tallies(run.scoring, by)
    for batch in batches:
        tallies.add(batch)
    reasons = Counter(tallies.statuses)
    reasons.pop(TextStatus.OK, None)
    return PairsReport(
        run=run,
        pairs=tallies.rows,
        set_aside=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        overall=tallies.overall.accuracy() if tallies.overall.pairs else None,
        grouped=tuple(_grouped(column, groups) for column, groups in tallies.groups.items() if groups),
        most_wrong=tuple(tallies.wrong),
        definitions=DEFINITIONS,
    )


def _grouped(column: str, tallies: Mapping[str, _Tally]) -> GroupedPairs:
    groups = {name: tallies[name].accuracy() for name in sorted(tallies)}
    return GroupedPairs(column, groups, mean_accuracy(list(groups.values())))


def _values(batch: pa.RecordBatch, column: str) -> list[Any]:
    return list(batch.column(column).to_pylist())


def _names(column: Any) -> list[str]:
    return [NO_GROUP if value is None else str(value) for value in column.to_pylist()]
