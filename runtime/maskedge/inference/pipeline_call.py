"""A call as `transformers.pipeline("fill-mask")` answers it: what goes in, what comes out, and in which shape."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from maskedge.bundle.engine import Outputs
from maskedge.errors import TextError
from maskedge.inference.batching import AnswerQueries, Query
from maskedge.inference.beam_search import BEAMS, Order, joint_fills
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.multi_piece_targets import score_whole_targets
from maskedge.inference.pipeline_arguments import CallOptions
from maskedge.inference.streaming import answer_in_order
from maskedge.inference.targets import TargetLists
from maskedge.results import TextStatus

__all__ = ["Candidate", "FillMask"]

TEXTS_AT_ONCE = 32
"""Of a list: enough for batches of equal length, few enough to hold their rankings of the whole vocabulary."""

T = TypeVar("T")

Candidate = dict[str, Any]
"""`score`, `token`, `token_str`, `sequence`; and `truncated`, which is True, where the text was cut to be read."""


@dataclass(frozen=True, slots=True)
class FillMask:
    """A model and how it is called."""

    encoder: TextEncoder
    decoder: TextDecoder
    vocab_size: int
    answer_queries: AnswerQueries
    options: CallOptions

    def __call__(self, inputs: object) -> Any:
        """A text's candidates; of a list of texts a list of those; of an iterator a lazy one.

        A list of one text is answered as the text itself. Raises TextError for a text without a mask or that cannot
        be read, and ValueError for what is no text.
        """
        if isinstance(inputs, str):
            return self._answer([inputs], None)[0]
        if isinstance(inputs, list):
            results = list(answer_in_order(inputs, self._answer, read_ahead=TEXTS_AT_ONCE))
            return results[0] if len(results) == 1 else results
        if isinstance(inputs, Iterator):
            return answer_in_order(inputs, self._answer, read_ahead=self.options.read_ahead)
        raise ValueError(f"the input must be a str, a list of str or an iterator, not {type(inputs).__name__}")

    def _answer(self, texts: list[Any], first: int | None) -> list[list[Any]]:
        """Each text's candidates. `first` is the number of the first one, None where there is only one."""
        rows = ["" if first is None else f" of text {first + number}" for number in range(len(texts))]
        encoded = [self._encode(text, row) for text, row in zip(texts, rows, strict=True)]
        if self.options.joint:
            return [self._joint(text, self.options.joint) for text in encoded]
        if self.options.targets and self.options.whole_targets:
            targets = self.options.targets
            rated = [self._whole(text, _at(targets, text, row)) for text, row in zip(encoded, rows, strict=True)]
        else:
            rated = self._best(encoded, rows)
        return [masks[0] if len(masks) == 1 else masks for masks in rated]

    def _encode(self, text: object, row: str) -> EncodedText:
        if not isinstance(text, str):
            raise ValueError(f"the input{row} must be a str, not {type(text).__name__}: {text!r:.60}")
        no_mask = f"No mask_token ({self.encoder.mask_token}) found on the input{row}: {text[:60]!r}"
        try:
            encoded = self.encoder.encode(text)
        except TextError as error:
            unmasked = error.status in (TextStatus.EMPTY_TEXT, TextStatus.TOO_LONG)
            raise TextError(error.status, no_mask if unmasked else f"the input{row}: {error}") from error
        if not encoded.mask_positions:
            raise TextError(TextStatus.NO_MASK, no_mask)
        return encoded

    def _best(self, texts: Sequence[EncodedText], rows: Sequence[str]) -> list[list[list[Candidate]]]:
        """For each text and mask the most probable tokens, all of the vocabulary or of the targets."""
        options = self.options
        ids = options.target_ids
        targets = [_at(ids, text, row) if ids else None for text, row in zip(texts, rows, strict=True)]
        ranked = self.vocab_size if ids else options.top_k
        queries = [Query(text.input_ids, text.mask_positions, (0,) * len(text.mask_positions)) for text in texts]
        answers = self.answer_queries(queries, ["top_ids", "top_logprobs"], ranked)
        return [self._masks(*parts) for parts in zip(texts, targets, answers, strict=True)]

    def _masks(
        self, text: EncodedText, targets: Sequence[Sequence[int]] | None, outputs: Outputs
    ) -> list[list[Candidate]]:
        """For each mask its candidates, from the ranking of the vocabulary."""
        lists = []
        for mask, (ids, logprobs) in enumerate(zip(outputs["top_ids"], outputs["top_logprobs"], strict=True)):
            kept = slice(None) if targets is None else np.isin(ids, targets[mask])
            pairs = zip(ids[kept].tolist(), logprobs[kept].tolist(), strict=True)
            best = list(pairs)[: self.options.top_k]
            lists.append([self._candidate(text, mask, token, math.exp(logprob)) for token, logprob in best])
        return lists

    def _candidate(self, text: EncodedText, mask: int, token: int, score: float) -> Candidate:
        token_str, sequence = self.decoder.text([token]), self._sequence(text, mask, (token,))
        return {"score": score, "token": token, "token_str": token_str, "sequence": sequence} | _cut(text)

    def _whole(self, text: EncodedText, words: tuple[tuple[str, ...], ...]) -> list[list[Candidate]]:
        """For each mask its targets; `score` is the geometric mean of the pieces' probabilities."""
        targets = TargetLists(words, per_mask=True)
        (rated,) = score_whole_targets([text], targets, self.encoder, self.answer_queries)
        return [
            [
                {
                    "score": math.exp(target.mean_logprob),
                    "token": target.tokens[0],
                    "token_str": target.target,
                    "sequence": self._sequence(text, mask, target.tokens),
                    "tokens": list(target.tokens),
                    "logprob": target.logprob,
                }
                | _cut(text)
                for target in targets[: self.options.top_k]
            ]
            for mask, targets in enumerate(rated)
        ]

    def _joint(self, text: EncodedText, order: Order) -> list[Candidate]:
        """Fillings of all masks together; `token` and `token_str` are lists, in reading order."""
        beams = min(max(BEAMS, self.options.top_k), self.vocab_size)
        fills = joint_fills(text, self.decoder, self.answer_queries, order=order, beams=beams)
        return [
            {
                "score": math.exp(fill.logprob),
                "token": list(fill.tokens),
                "token_str": list(fill.token_strs),
                "sequence": fill.sequence,
                "order": list(fill.order),
            }
            | _cut(text)
            for fill in fills[: self.options.top_k]
        ]

    def _sequence(self, text: EncodedText, mask: int, tokens: tuple[int, ...]) -> str:
        """The text with one mask filled. As in transformers [CLS] and [SEP] stay where there are several masks."""
        ids, at = text.input_ids.tolist(), text.mask_positions[mask]
        ids[at : at + 1] = tokens
        if len(text.mask_positions) == 1:
            return self.decoder.sequence(ids, skip_special_tokens=True)
        if self.options.skip_special_tokens:
            ids = ids[len(self.encoder.prefix) : len(ids) - len(self.encoder.suffix)]
        return self.decoder.sequence(ids, skip_special_tokens=False)


def _at(targets: TargetLists[T], text: EncodedText, row: str) -> tuple[tuple[T, ...], ...]:
    try:
        return targets.at(len(text.mask_positions))
    except ValueError as error:
        raise ValueError(f"the input{row}: {error}") from error


def _cut(text: EncodedText) -> Candidate:
    return {"truncated": True} if text.truncated else {}
