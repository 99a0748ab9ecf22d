"""What the predictor returns: frozen dataclasses, log-probabilities in nats."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Fill", "MaskFill", "SentenceScore", "TargetScore", "TextStatus", "TokenPrediction", "TokenScore"]


class TextStatus(StrEnum):
    """Whether a text could be scored, and if not, why."""

    OK = "ok"
    EMPTY_TEXT = "empty_text"
    INVALID_UNICODE = "invalid_unicode"
    NO_MASK = "no_mask"
    UNEXPECTED_MASK = "unexpected_mask"
    MASK_LOST = "mask_lost"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class TokenPrediction:
    """One candidate for a mask."""

    token: int
    """Vocabulary id."""
    token_str: str
    """The id decoded alone: keeps `##` or a leading space."""
    score: float
    """Probability under the softmax over the whole vocabulary."""


@dataclass(frozen=True, slots=True)
class TargetScore:
    """How the model rates a known token at a mask."""

    token: int
    """Vocabulary id."""
    logprob: float
    """Log-probability over the whole vocabulary, nats."""
    rank: int
    """1 + the number of tokens that are more probable."""


@dataclass(frozen=True, slots=True)
class MaskFill:
    """What the model says at one mask."""

    position: int
    """Index of the mask in the encoded text, special tokens counted."""
    predictions: tuple[TokenPrediction, ...]
    """The `top_k` most probable tokens, best first."""
    entropy: float
    """Entropy of the predicted distribution, nats; its exponential is the effective number of candidates."""
    target: TargetScore | None
    """The known token's rating, where one was given."""


@dataclass(frozen=True, slots=True)
class Fill:
    """The filled masks of one text, in reading order."""

    text: str
    masks: tuple[MaskFill, ...]
    token_count: int
    """Tokens the model read, special tokens left out."""
    truncated: bool
    """Whether the text was cut to the model's length around its masks."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token's log-probability given all other tokens of its text."""

    token: int
    token_str: str
    logprob: float
    """Nats."""


@dataclass(frozen=True, slots=True)
class SentenceScore:
    """Pseudo-log-likelihood of one text (Salazar et al. 2020): every token masked in turn, special tokens left out."""

    text: str
    pll: float
    """Sum of the tokens' log-probabilities, nats."""
    token_count: int
    """Tokens scored."""
    pseudo_perplexity: float
    """exp(-pll / token_count)."""
    tokens: tuple[TokenScore, ...]
