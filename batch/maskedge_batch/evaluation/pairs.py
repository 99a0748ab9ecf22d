"""Minimal pairs: of two sentences that differ in one point, does the model prefer the good one?

Test suites such as BLiMP (Warstadt et al. 2020) ask this of a model's probabilities; a masked model has a stand-in, the
pseudo-log-likelihood (Salazar et al. 2020). Of the methods to compute it, `within_word_l2r` is the default here: with
`original`, the pieces of a word give each other away, so a rare word of many pieces looks probable, and Kauf & Ivanova
2023 found the better accuracy on BLiMP with the later pieces masked too (BERT 84.7 % against 84.2, RoBERTa 86.7 against
85.4).
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import repeat
from typing import Any, Literal

import pyarrow as pa

from maskedge import EncodedText, Predictor, TextError, TextStatus
from maskedge.inference.scoring import Method, check_method
from maskedge_batch.scoring.columns import text_bytes
from maskedge_batch.scoring.rows import RowStatus
from maskedge_batch.scoring.spark_schema import extended

__all__ = ["PAIR_FIELDS", "Normalization", "PairScoring", "PairStatus", "pairs_schema", "score_pairs"]

Normalization = Literal["sum", "token", "character"]

_FIELDS: list[Any] = [
    pa.field("mlm_status", pa.string(), nullable=False),  # "ok" or the reason why the pair was set aside
    pa.field("mlm_pll_good", pa.float64()),  # pseudo-log-likelihood, nats
    pa.field("mlm_pll_bad", pa.float64()),
    pa.field("mlm_token_count_good", pa.int32()),  # special tokens left out
    pa.field("mlm_token_count_bad", pa.int32()),
    pa.field("mlm_margin", pa.float64()),  # the good score less the bad one, as `PairScoring.normalize` has them
    pa.field("mlm_correct", pa.bool_()),  # whether the good score is the higher one: a tie is not correct
]
PAIR_FIELDS = pa.schema(_FIELDS)

PIECE_ROWS = 128
"""Pairs that are scored at a time: a second or two of work, so that progress shows."""
REMEMBERED = 100_000
"""Sentences whose scores are kept: suites repeat them, most often near each other."""


class PairStatus(StrEnum):
    """Why a pair was set aside, where no status of a text says it."""

    SAME_SENTENCE = "same_sentence"
    """Both sentences are the same."""


@dataclass(frozen=True, slots=True)
class PairScoring:
    """What is compared, and how."""

    good: str = "sentence_good"
    """The column with the sentences that the model should prefer."""
    bad: str = "sentence_bad"
    """The column with the others."""
    method: Method = "within_word_l2r"
    """What is masked while a token is predicted; `maskedge.inference.scoring` defines it."""
    normalize: Normalization = "sum"
    """The pseudo-log-likelihood itself, or divided by the sentence's tokens or by its characters."""

    def __post_init__(self) -> None:
        check_method(self.method)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence's score, or why there is none."""

    status: str
    pll: float = 0.0
    tokens: int = 0
    characters: int = 1

    def score(self, normalize: Normalization) -> float:
        return self.pll / {"sum": 1, "token": self.tokens, "character": self.characters}[normalize]


NULL = _Sentence(RowStatus.NULL_TEXT)


def pairs_schema(schema: pa.Schema, provenance: bytes | None = None) -> pa.Schema:
    """The input's schema with the pairs' columns behind its own and, under the metadata key `maskedge_pairs`, the
    provenance of the scores."""
    return extended(schema, PAIR_FIELDS, {} if provenance is None else {"maskedge_pairs": provenance})


def score_pairs(
    batches: Iterator[pa.RecordBatch],
    predictor: Predictor,
    scoring: PairScoring = PairScoring(),
) -> Iterator[pa.RecordBatch]:
    """Yields every pair in order with both scores and whether the good sentence has the higher one.

    A pair with a sentence that cannot be scored keeps its place, with nulls and the reason in `mlm_status`. A sentence
    that comes again is scored once, as long as it is among the last 100,000. Scores do not depend on the rows beside
    them.

    Args:
        batches: Rows with the columns that `scoring` names.
        predictor: The model.
        scoring: What is compared, and how.

    Yields:
        The rows in pieces, with the columns of `PAIR_FIELDS` behind their own.
    """
    sentences = _Sentences(predictor, scoring.method)
    for batch in batches:
        for start in range(0, batch.num_rows, PIECE_ROWS):
            piece = batch.slice(start, PIECE_ROWS)
            texts = [text_bytes(piece.column(name)) for name in (scoring.good, scoring.bad)]
            good, bad = (sentences.scored(column) for column in texts)
            same = (first == second for first, second in zip(*texts, strict=True))
            yield _append(piece, list(map(_compared, good, bad, same, repeat(scoring.normalize))))


class _Sentences:
    """Scores sentences, and remembers the latest."""

    def __init__(self, predictor: Predictor, method: Method) -> None:
        self._predictor = predictor
        self._method = method
        self._known: OrderedDict[bytes, _Sentence] = OrderedDict()
        """By the texts' hashes: a text may be long."""

    def scored(self, texts: Sequence[bytes | None]) -> list[_Sentence]:
        """Each text's score."""
        hashes = {text: blake2b(text, digest_size=16).digest() for text in texts if text is not None}
        new = [text for text, known in hashes.items() if known not in self._known]
        for text, sentence in zip(new, self._score(new), strict=True):
            self._known[hashes[text]] = sentence
        found = [NULL if text is None else self._known[hashes[text]] for text in texts]
        for one in hashes.values():
            self._known.move_to_end(one)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _score(self, texts: list[bytes]) -> Iterator[_Sentence]:
        encoded = [self._encode(text) for text in texts]
        whole = [text for text in encoded if isinstance(text, EncodedText)]
        scores = iter(self._predictor.score_encoded(whole, method=self._method) if whole else ())
        for text in encoded:
            if isinstance(text, EncodedText):
                score = next(scores)
                status = TextStatus.NOT_A_NUMBER if score.has_nan else TextStatus.OK
                yield _Sentence(status, score.pll, score.token_count, len(score.text))
            else:
                yield _Sentence(text)

    def _encode(self, text: bytes) -> EncodedText | TextStatus:
        """The text as the model reads it; or why it is not scored."""
        try:
            encoded = self._predictor.encode(text.decode())
        except UnicodeDecodeError:
            return TextStatus.INVALID_UNICODE
        except TextError as error:
            return error.status
        return TextStatus.UNEXPECTED_MASK if encoded.mask_positions else encoded


def _compared(good: _Sentence, bad: _Sentence, same: bool, normalize: Normalization) -> dict[str, Any]:
    """The columns of a pair; those left out are null."""
    for sentence in (good, bad):
        if sentence.status != TextStatus.OK:
            return {"mlm_status": sentence.status}
    if same:
        return {"mlm_status": PairStatus.SAME_SENTENCE}
    scores = good.score(normalize), bad.score(normalize)
    return {
        "mlm_status": TextStatus.OK,
        "mlm_pll_good": good.pll,
        "mlm_pll_bad": bad.pll,
        "mlm_token_count_good": good.tokens,
        "mlm_token_count_bad": bad.tokens,
        "mlm_margin": _margin(*scores),
        "mlm_correct": scores[0] > scores[1],
    }


def _margin(good: float, bad: float) -> float:
    """How far the good score lies above the bad one; two that are both -infinity are a tie."""
    return 0.0 if good == bad else good - bad


def _append(batch: pa.RecordBatch, pairs: list[dict[str, Any]]) -> pa.RecordBatch:
    added = [pa.array([pair.get(field.name) for pair in pairs], type=field.type) for field in PAIR_FIELDS]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=pairs_schema(batch.schema))
