"""What the predictor returns: frozen dataclasses, log-probabilities in nats."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Fill",
    "JointFill",
    "MaskFill",
    "SentenceScore",
    "TargetScore",
    "TextStatus",
    "TokenPrediction",
    "TokenScore",
    "WholeTarget",
    "WordScore",
]


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
class WholeTarget:
    """How the model rates a word in place of a mask: its pieces from left to right, each given those before it and
    with those after it masked."""

    target: str
    """As it was given."""
    tokens: tuple[int, ...]
    """The pieces' vocabulary ids."""
    logprobs: tuple[float, ...]
    """One for each piece, nats."""
    logprob: float
    """Their sum, nats."""
    mean_logprob: float
    """Their sum divided by their number, nats; comparable between words of different length."""


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
    targets: tuple[WholeTarget, ...] = ()
    """The words that were asked about, the greatest `mean_logprob` first."""


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
class JointFill:
    """All masks of one text filled together."""

    text: str
    tokens: tuple[int, ...]
    """A vocabulary id for each mask, in reading order."""
    token_strs: tuple[str, ...]
    """The ids decoded alone, in reading order."""
    logprob: float
    """Joint pseudo-log-probability, nats: the sum over the masks, in `order`, of each token's log-probability given
    the text with the tokens before it filled in and the others still masked. It depends on the order."""
    order: tuple[int, ...]
    """The numbers of the masks, from 0, in the order in which they were filled."""
    sequence: str
    """The filled text decoded, special tokens left out."""
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
class WordScore:
    """One word's share of its text's pseudo-log-likelihood."""

    word: str
    start: int
    """Its first character's index in the text."""
    stop: int
    """The index after its last character."""
    token_count: int
    """Tokens of the word; the words' tokens follow one another."""
    logprob: float
    """Sum of its tokens' log-probabilities, nats."""


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
    method: str
    """What was masked while a token was asked for; `maskedge.inference.scoring` defines the methods."""
    word_count: int
    """Words of the text (at least 1), by a rule that knows no tokenizer: see `maskedge.inference.words`."""
    pseudo_perplexity_per_word: float
    """exp(-pll / word_count): unlike that per token, comparable between tokenizers."""
    bits_per_character: float
    """-pll / (characters * ln 2), of the text's code points; comparable between tokenizers."""
    words: tuple[WordScore, ...]
    """In reading order; each token is in one. Fewer than word_count where a token stands for several words."""
    windows: int
    """Windows of the model's length that were read: 1 where the text fits."""
    context: int | None
    """Tokens that the model saw on each side of every scored token, or more, unless the text ended sooner; None where
    it saw the whole text."""
