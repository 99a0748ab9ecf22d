"""Every step of a prediction, from the text to the filled sentence, as values for a table or a picture to show."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

from maskedge.errors import refuse_nan
from maskedge.inference.encoding import EncodedText
from maskedge.predictor import Predictor
from maskedge.results import Fill, Influence, MaskFill, TokenPrediction
from maskedge.spelling import mask_spans

__all__ = ["ExplainedCandidate", "ExplainedMask", "ExplainedToken", "Explanation", "explain", "explain_spans"]


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """One token that the model read."""

    position: int
    """Index in the encoded text, special tokens counted."""
    token: int
    """Vocabulary id."""
    token_str: str
    """The id decoded alone: keeps `##` or a leading space."""
    masked: bool
    """Whether it is a mask."""


@dataclass(frozen=True, slots=True)
class ExplainedCandidate:
    """One candidate for a mask, from its logit to its probability."""

    token: int
    """Vocabulary id."""
    token_str: str
    """The id decoded alone."""
    logit_gap: float
    """Its logit minus the best candidate's, at most 0; the softmax depends on such differences alone."""
    logprob: float
    """Log-probability over the whole vocabulary, nats."""
    probability: float
    """Its exponential."""
    share: float
    """Its probability divided by the sum of all shown candidates' probabilities."""


@dataclass(frozen=True, slots=True)
class ExplainedMask:
    """What the model says at one mask."""

    position: int
    """Index in the encoded text, special tokens counted."""
    candidates: tuple[ExplainedCandidate, ...]
    """The most probable tokens, best first; the first one fills the mask in `Explanation.filled_text`."""
    others: int
    """How many tokens of the vocabulary are not shown."""
    others_probability: float
    """The sum of their probabilities."""
    entropy: float
    """Entropy of the distribution over the whole vocabulary, nats."""
    filled_span: tuple[int, int]
    """Where the best candidate begins and ends in `Explanation.filled_text`, in characters."""
    word: str | None
    """The word that `explain` masked here; None where the text came with its masks."""
    word_rank: int | None
    """1 + the number of tokens that are more probable than the word; None where it is no single token."""
    word_logprob: float | None
    """The word's log-probability over the whole vocabulary, nats; None where it is no single token."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every step of a prediction, in order."""

    model: str
    """The model's name."""
    precision: str
    """The name of the graph that predicted."""
    text: str
    """The text as it was given."""
    mask_token: str
    """The model's own mask token."""
    masked_text: str
    """The text that was tokenized: with the model's own mask token, and cut if it was very long."""
    tokens: tuple[ExplainedToken, ...]
    """All tokens that the model read, special tokens included."""
    masks: tuple[ExplainedMask, ...]
    """The masks in reading order, filled independently of each other."""
    filled_text: str
    """The tokens decoded with each mask's best candidate in its place, special tokens left out."""
    truncated: bool
    """Whether the text was cut to the model's length around its masks."""
    influences: tuple[Influence, ...] = ()
    """For each mask how much each other word matters to its best candidate; empty where nobody asked."""


def explain(
    predictor: Predictor, text: str, *, word: str | None = None, top_k: int = 5, influence: bool = False
) -> Explanation:
    """Explains how a predictor fills the masks of a text.

    Args:
        predictor: The predictor to ask.
        text: A text with masks; with `word`, one without.
        word: A word of the text, whose first occurrence is masked.
        top_k: How many candidates are shown for each mask, at least 1.
        influence: Whether each other word is masked in turn, to see how much it matters.

    Returns:
        Every step of the prediction.

    Raises:
        TextError: The text has no mask or cannot be encoded.
        ValueError: The text does not hold the word, or holds a mask beside it, or `top_k` is not from 1 to the
            vocabulary's size.
    """
    spans = [] if word is None else [_place_of(predictor, text, word)]
    return explain_spans(predictor, text, spans, top_k=top_k, influence=influence)


def explain_spans(
    predictor: Predictor, text: str, spans: Sequence[tuple[int, int]], *, top_k: int = 5, influence: bool = False
) -> Explanation:
    """Explains how a predictor fills in parts of a text, each of which is masked.

    Args:
        predictor: The predictor to ask.
        text: A text, with masks of its own or without.
        spans: For each part to mask the index of its first character and the one after its last, in reading order.
        top_k: As in `explain`.
        influence: As in `explain`.

    Returns:
        Every step of the prediction. The masks' `word` is what stood there.

    Raises:
        TextError: As `explain`.
        ValueError: `top_k` is not from 1 to the vocabulary's size, or spans overlap each other or a mask.
    """
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; an explanation needs at least 1 candidate")
    masked = _masked(text, spans, predictor.mask_token)
    encoded = predictor.encode(masked)
    stood = _what_stood(text, spans, predictor.mask_token) if spans else [None] * len(encoded.mask_positions)
    if len(stood) != len(encoded.mask_positions):
        raise ValueError(f"the spans {list(spans)} overlap each other, or a mask of the text {text[:60]!r}")
    targets = [_single_token(predictor, encoded, mask, word) for mask, word in enumerate(stood)]
    (fill,) = predictor.fill_encoded([encoded], top_k=top_k, targets=[targets])
    refuse_nan("the text", fill.has_nan)
    filled_ids = _filled_ids(encoded, fill)
    spans_filled = [_span(predictor, filled_ids, mask.position) for mask in fill.masks]
    return Explanation(
        model=predictor.name,
        precision=predictor.precision,
        text=text,
        mask_token=predictor.mask_token,
        masked_text=encoded.source,
        tokens=tuple(_tokens(predictor, encoded)),
        masks=tuple(map(_mask, repeat(predictor), fill.masks, spans_filled, stood)),
        filled_text=_decode(predictor, filled_ids),
        truncated=fill.truncated,
        influences=tuple(_influences(predictor, masked, fill)) if influence else (),
    )


def _masked(text: str, spans: Sequence[tuple[int, int]], mask_token: str) -> str:
    parts, end = [], 0
    for start, stop in spans:
        parts += [text[end:start], mask_token]
        end = stop
    return "".join([*parts, text[end:]])


def _what_stood(text: str, spans: Sequence[tuple[int, int]], mask_token: str) -> list[str | None]:
    """For each mask, in reading order, what was masked there; None for a mask of the text's own."""
    stood = {span: text[slice(*span)] for span in spans}
    return [stood.get(span) for span in sorted({*spans, *mask_spans(text, mask_token)})]


def _single_token(predictor: Predictor, encoded: EncodedText, mask: int, word: str | None) -> int | None:
    pieces = predictor.encoder.pieces_there(encoded, mask, word) if word else ()
    return pieces[0] if len(pieces) == 1 else None


def _influences(predictor: Predictor, masked: str, fill: Fill) -> Iterator[Influence]:
    for number, mask in enumerate(fill.masks):
        yield predictor.influence(masked, mask=number, token=mask.predictions[0].token)


def _place_of(predictor: Predictor, text: str, word: str) -> tuple[int, int]:
    """Where the word first stands in the text: as it is spelled there, otherwise in another letter case. It may be
    given as a prediction is called."""
    if predictor.encode(text).mask_positions:
        raise ValueError(f"the text {text[:60]!r} holds a mask already; leave the word {word!r} out")
    for spelling in filter(None, (word, predictor.encoder.surface(word))):
        pattern = rf"(?<!\w){re.escape(spelling)}(?!\w)"
        if found := re.search(pattern, text) or re.search(pattern, text, re.IGNORECASE):
            return found.span()
    raise ValueError(f"the text {text[:60]!r} does not hold the word {word!r}")


def _tokens(predictor: Predictor, encoded: EncodedText) -> Iterator[ExplainedToken]:
    masks = set(encoded.mask_positions)
    for position, token in enumerate(encoded.input_ids.tolist()):
        yield ExplainedToken(position, token, predictor.encoder.token_str(token), position in masks)


def _mask(predictor: Predictor, mask: MaskFill, span: tuple[int, int], word: str | None) -> ExplainedMask:
    shown = math.fsum(prediction.score for prediction in mask.predictions)
    return ExplainedMask(
        position=mask.position,
        candidates=tuple(_candidates(mask.predictions, shown)),
        others=predictor.bundle.manifest.vocab_size - len(mask.predictions),
        others_probability=max(0.0, 1 - shown),
        entropy=mask.entropy,
        filled_span=span,
        word=word,
        word_rank=mask.target.rank if mask.target else None,
        word_logprob=mask.target.logprob if mask.target else None,
    )


def _candidates(predictions: tuple[TokenPrediction, ...], shown: float) -> Iterator[ExplainedCandidate]:
    best = _logprob(predictions[0])
    for prediction in predictions:
        logprob, share = _logprob(prediction), prediction.score / shown
        yield ExplainedCandidate(
            prediction.token, prediction.token_str, logprob - best, logprob, prediction.score, share
        )


def _logprob(prediction: TokenPrediction) -> float:
    return math.log(prediction.score) if prediction.score else -math.inf


def _filled_ids(encoded: EncodedText, fill: Fill) -> list[int]:
    ids: list[int] = encoded.input_ids.tolist()
    for mask in fill.masks:
        ids[mask.position] = mask.predictions[0].token
    return ids


def _span(predictor: Predictor, filled_ids: list[int], position: int) -> tuple[int, int]:
    """Where one token stands in the decoded text: what decoding adds when it follows the tokens before it."""
    before, after = (_decode(predictor, filled_ids[:end]) for end in (position, position + 1))
    added = after[len(before) :]
    return len(after) - len(added.lstrip()), len(after)


def _decode(predictor: Predictor, ids: list[int]) -> str:
    return predictor.decoder.text(ids, skip_special_tokens=True)
