"""What is to be found out of each row."""

from dataclasses import dataclass

from maskedge.inference.scoring import Method

__all__ = ["ScoringOptions"]


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What is to be found out of each row."""

    top_k: int | None = 5
    """How many of the most probable tokens are kept for each mask; None: the column of predictions is null."""
    method: Method = "original"
    """What is masked while a token of a text without masks is predicted; `maskedge.inference.scoring` defines it."""
    single_piece_targets: bool = False
    """Whether only targets of one token are rated, and rows with others set aside."""
    tokens: bool = False
    """Whether each token of a text without masks is kept with its log-probability: 9 bytes a token in the file, more
    than three times the text itself."""
