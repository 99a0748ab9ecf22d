"""What the predictor returns: frozen dataclasses, log-probabilities in nats."""

import math
from dataclasses import dataclass
from enum import StrEnum

from maskedge.arrays import Float32Array

__all__ = [
    "Attention",
    "Fill",
    "Influence",
    "JointFill",
    "MaskFill",
    "SentenceScore",
    "TargetScore",
    "TextStatus",
    "TokenPrediction",
    "TokenScore",
    "WholeTarget",
    "WordInfluence",
    "WordScore",
]


class TextStatus(StrEnum):
    """Whether a text could be scored, and if not, why."""

    OK = "ok"
    """It was scored."""
    EMPTY_TEXT = "empty_text"
    """It holds no token."""
    INVALID_UNICODE = "invalid_unicode"
    """It holds a lone surrogate, or bytes that are not UTF-8."""
    UNTOKENIZABLE = "untokenizable"
    """The tokenizer cannot write it: it holds a character that the vocabulary has no token for, not even an unknown
    one."""
    NO_MASK = "no_mask"
    """It has no mask to fill."""
    UNEXPECTED_MASK = "unexpected_mask"
    """It has a mask, and was to be scored whole."""
    MASK_LOST = "mask_lost"
    """Its masks are too far apart to be read at once."""
    TOO_LONG = "too_long"
    """It has no mask and more tokens than are scored."""
    NOT_A_NUMBER = "not_a_number"
    """What the model says of it is no number (NaN): its weights hold some, or its sums overflow."""


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
    """How the model rates a word, of one piece or several, in place of a mask.

    Its pieces are predicted from left to right, each with the pieces before it filled in and those after it masked.
    """

    target: str
    """The word as it was given; where its pieces were given, these decoded."""
    tokens: tuple[int, ...]
    """The pieces' vocabulary ids."""
    logprobs: tuple[float, ...]
    """Each piece's log-probability, nats."""
    logprob: float
    """The sum of the pieces' log-probabilities, nats."""
    mean_logprob: float
    """That sum divided by the number of pieces, nats; comparable between words of different length."""

    @property
    def has_nan(self) -> bool:
        """Whether one of its figures is no number."""
        return math.isnan(self.logprob)


@dataclass(frozen=True, slots=True)
class MaskFill:
    """The model's predictions at one mask."""

    position: int
    """Index of the mask in the encoded text, special tokens counted."""
    predictions: tuple[TokenPrediction, ...]
    """The `top_k` most probable tokens, best first."""
    entropy: float
    """Entropy of the predicted distribution, nats; its exponential is the effective number of candidates."""
    target: TargetScore | None
    """The rating of the one token that the caller knows to stand here; None where none was given."""
    targets: tuple[WholeTarget, ...] = ()
    """The ratings of the words that the caller asked about, the greatest `mean_logprob` first."""

    @property
    def has_nan(self) -> bool:
        """Whether one of its figures is no number."""
        rated = [self.target.logprob] if self.target else []
        figures = [self.entropy, *rated, *(guess.score for guess in self.predictions)]
        return any(map(math.isnan, figures)) or any(target.has_nan for target in self.targets)


@dataclass(frozen=True, slots=True)
class Fill:
    """The filled masks of one text."""

    text: str
    """The text as it was given."""
    masks: tuple[MaskFill, ...]
    """In reading order."""
    token_count: int
    """Tokens the model read, special tokens left out."""
    truncated: bool
    """Whether the text was cut to the model's length around its masks."""

    @property
    def has_nan(self) -> bool:
        """Whether one of its figures is no number, as where weights are none or sums overflow."""
        return any(mask.has_nan for mask in self.masks)


@dataclass(frozen=True, slots=True)
class JointFill:
    """All masks of one text filled together."""

    text: str
    """The text as it was given."""
    tokens: tuple[int, ...]
    """A vocabulary id for each mask, in reading order."""
    token_strs: tuple[str, ...]
    """The ids decoded alone, in reading order."""
    logprob: float
    """Joint pseudo-log-probability, nats: the sum of the tokens' log-probabilities, each predicted with the tokens
    before it in `order` filled in and the others still masked. It depends on the order."""
    order: tuple[int, ...]
    """The numbers of the masks, from 0, in the order in which they were filled."""
    sequence: str
    """The filled text decoded, special tokens left out."""
    truncated: bool
    """Whether the text was cut to the model's length around its masks."""

    @property
    def has_nan(self) -> bool:
        """Whether one of its figures is no number."""
        return math.isnan(self.logprob)


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token's log-probability given the other tokens of its text, some of them masked by some methods."""

    token: int
    """Vocabulary id."""
    token_str: str
    """The id decoded alone: keeps `##` or a leading space."""
    logprob: float
    """Log-probability over the whole vocabulary, nats."""


@dataclass(frozen=True, slots=True)
class WordScore:
    """One word's share of its text's pseudo-log-likelihood."""

    word: str
    """The word as it stands in the text."""
    start: int
    """The index of its first character in the text."""
    stop: int
    """The index after its last character."""
    token_count: int
    """How many of `SentenceScore.tokens` are the word's: they follow those of the word before it."""
    logprob: float
    """Sum of its tokens' log-probabilities, nats."""


@dataclass(frozen=True, slots=True)
class SentenceScore:
    """Pseudo-log-likelihood of one text (Salazar et al. 2020): every token masked in turn, special tokens left out."""

    text: str
    """The text as it was given."""
    pll: float
    """Sum of the tokens' log-probabilities, nats."""
    token_count: int
    """Tokens scored."""
    pseudo_perplexity: float
    """exp(-pll / token_count)."""
    tokens: tuple[TokenScore, ...]
    """In reading order."""
    method: str
    """What was masked while a token was predicted; `maskedge.inference.scoring` defines the methods."""
    word_count: int
    """Words of the text, at least 1, by a rule that is the same for every tokenizer: see `maskedge.inference.words`."""
    pseudo_perplexity_per_word: float
    """exp(-pll / word_count). It is comparable between tokenizers, unlike that per token."""
    bits_per_character: float
    """-pll / (characters * ln 2), where characters are Unicode code points; comparable between tokenizers."""
    words: tuple[WordScore, ...]
    """In reading order. Each token belongs to one of them; they are fewer than `word_count` where a token stands for
    several words."""
    windows: int
    """How many different windows of the model's length were read: 1 where the text fits."""
    context: int | None
    """The fewest tokens that the model saw on one side of a scored token, where the text went on beyond them; None
    where the model saw the whole text."""

    @property
    def has_nan(self) -> bool:
        """Whether one of its figures is no number."""
        return math.isnan(self.pll)


@dataclass(frozen=True, slots=True)
class WordInfluence:
    """How much one word matters to a prediction."""

    word: str
    """As it stands in the text."""
    positions: tuple[int, ...]
    """Its tokens' indices in the encoded text, special tokens counted."""
    logprob: float
    """Log-probability of the predicted token where this word is masked too, nats."""
    change: float
    """How much more probable the token is with the word than without it, nats. Below 0, the word speaks against it."""
    start: int
    """The index of its first character in the text that was tokenized: with the model's own mask token, and cut if it
    was very long."""
    stop: int
    """The index after its last character."""


@dataclass(frozen=True, slots=True)
class Influence:
    """How much each other word of a text matters to the prediction at a mask."""

    text: str
    """The text as it was given."""
    position: int
    """The mask's index in the encoded text, special tokens counted."""
    token: int
    """The vocabulary id of the token that is asked about."""
    token_str: str
    """That id decoded alone."""
    logprob: float
    """Its log-probability at the mask, nats."""
    words: tuple[WordInfluence, ...]
    """All words that the model read but the masks, in reading order."""


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Where each attention head looks while the model reads a text."""

    text: str
    """The text as it was given."""
    token_ids: tuple[int, ...]
    """As the model read them, special tokens included."""
    tokens: tuple[str, ...]
    """Each of them decoded alone: keeps `##` or a leading space."""
    words: tuple[int | None, ...]
    """For each token the number of the word it belongs to, by the rule of `maskedge.inference.words`; None for special
    tokens around the text."""
    weights: Float32Array
    """[layers, heads, queries, keys]: the probability with which the token at a query's place looks at each key's.
    Those of a query add up to 1."""
    truncated: bool
    """Whether the text was cut to the model's length: around its masks, or at its end where it has none."""

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return int(self.weights.shape[0])

    @property
    def heads(self) -> int:
        """How many heads each layer has."""
        return int(self.weights.shape[1])
