"""A report: every number of scored files, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from maskedge_batch.reports.bootstrap import Estimate
from maskedge_batch.reports.examples import RowExample
from maskedge_batch.reports.histogram import Bin
from maskedge_batch.reports.run import Run
from maskedge_batch.reports.scored import Provenance

__all__ = [
    "Accuracy",
    "Breakdown",
    "Calibration",
    "CalibrationBin",
    "Group",
    "Intervals",
    "MaskedFigures",
    "MaskedMetrics",
    "Report",
    "RunFacts",
    "Spread",
    "UnmaskedFigures",
    "UnmaskedMetrics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts(Run):
    """How a run went: what the scored files do not say, since the same job gives the same bytes."""

    output: str
    scoring_seconds: float
    machine: str
    """Its architecture, CPUs and system."""
    job: Mapping[str, str | int | None] = field(default_factory=dict)
    """All that the output's bytes depend on."""
    output_sha256: str | None = None
    """Of the scored file; None for a directory of parts."""
    left_out: tuple[str, ...] = ()
    """What of the input is damaged and was left out, a sentence each."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of targets among the `k` most probable tokens of the vocabulary."""

    k: int
    share: Estimate


@dataclass(frozen=True, slots=True)
class MaskedFigures:
    """How well the model knew some targets at masks."""

    rows: int
    """Rows with such a target."""
    targets: int
    cross_entropy: Estimate
    """Nats for each target."""
    perplexity: Estimate
    accuracies: tuple[Accuracy, ...]
    """A target of several pieces is never among the tokens, and counts as missed."""


@dataclass(frozen=True, slots=True)
class UnmaskedFigures:
    """How well the model knew some texts without masks."""

    rows: int
    tokens: int
    pll: float
    """Pseudo-log-likelihood of all together, nats."""
    pseudo_perplexity: Estimate
    """Per token."""
    words: int | None
    """None where the files do not count them."""
    pseudo_perplexity_per_word: Estimate | None
    characters: int | None
    bits_per_character: Estimate | None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows, or targets, that have something in common."""

    label: str
    figures: MaskedFigures | UnmaskedFigures


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The same figures for each group."""

    title: str
    note: str
    """What was grouped by, in a sentence; empty where the title says it."""
    groups: tuple[Group, ...]
    groups_left_out: int
    """The smallest ones, where there are too many to show."""
    rows_left_out: int


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Masks whose most probable token was given a probability in [low, high)."""

    low: float
    high: float
    masks: int
    confidence: float
    """Mean probability of the most probable token."""
    accuracy: Estimate
    """Share of these masks where that token is the target."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether the most probable token is right as often as its probability says."""

    masks: int
    error: float
    """Expected calibration error."""
    bins: tuple[CalibrationBin, ...]
    """Those that have masks."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The row perplexities of one kind of row."""

    rows: int
    quantiles: Mapping[str, float]
    """By their names, such as "50 %": the perplexity that this share of the rows does not exceed."""
    histogram: tuple[Bin, ...]
    hardest: tuple[RowExample, ...]
    easiest: tuple[RowExample, ...]


@dataclass(frozen=True, slots=True)
class MaskedMetrics:
    """Metrics of the rows whose text holds masks. Those about targets are None or empty where no target was known."""

    rows: int
    masks: int
    mean_entropy: Estimate
    overall: MaskedFigures | None
    single_piece: MaskedFigures | None
    several_pieces: MaskedFigures | None
    """Of targets that are more than one token; None where there are none."""
    calibration: Calibration | None
    spread: Spread | None
    breakdowns: tuple[Breakdown, ...]


@dataclass(frozen=True, slots=True)
class UnmaskedMetrics:
    """Metrics of the rows whose text holds no mask."""

    overall: UnmaskedFigures
    spread: Spread
    breakdowns: tuple[Breakdown, ...]


@dataclass(frozen=True, slots=True)
class Intervals:
    """How the intervals were made."""

    level: float
    resamples: int
    buckets: int
    """As many as rows where each is drawn by itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the reports say."""

    title: str
    files: tuple[str, ...]
    """The scored files' names."""
    provenance: Provenance
    run: RunFacts | None
    """None where the report was made from the scored files alone."""
    rows: int
    rows_ok: int
    rows_truncated: int
    """Scored after their text was cut to the model's length."""
    set_aside: Mapping[str, int]
    """Rows by the reason why not all of their scores could be given, most frequent first."""
    masked: MaskedMetrics | None
    unmasked: UnmaskedMetrics | None
    intervals: Intervals
    definitions: Mapping[str, str]

    @property
    def rows_per_second(self) -> float | None:
        """Rows over the seconds spent scoring; None where that is not known."""
        return self.rows / self.run.scoring_seconds if self.run else None
