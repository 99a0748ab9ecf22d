"""A call as `transformers.pipeline("fill-mask")` answers it: what goes in, what comes out, and in which shape."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from maskedge.bundle.engine import Outputs
from maskedge.errors import TextError, refuse_nan
from maskedge.inference.batching import Query
from maskedge.inference.beam_search import BEAMS, Order, joint_fills
from maskedge.inference.encoding import EncodedText
from maskedge.inference.masked_lm import MaskedLM
from maskedge.inference.multi_piece_targets import pieces_of_words, score_whole_targets
from maskedge.inference.pipeline_arguments import CallOptions
from maskedge.inference.streaming import answer_in_order
from maskedge.inference.targets import TargetLists
from maskedge.results import TextStatus

__all__ = ["Candidate", "FillMask"]

T = TypeVar("T")

Candidate = dict[str, Any]
"""`score`, `token`, `token_str`, `sequence`; and `truncated`, which is True, where the text was cut to be read."""


@dataclass(frozen=True, slots=True)
class FillMask:
    """A model and how it is called."""

    model: MaskedLM
    options: CallOptions

    def __call__(self, inputs: object) -> Any:
        """A text's candidates; of a list of texts a list of those; of an iterator a lazy one.

        A list of one text is answered as the text itself. Raises TextError for a text without a mask or that cannot
        be read, and ValueError for what is no text.
        """
        if isinstance(inputs, str):
            return self._answer([inputs], None)[0]
        if isinstance(inputs, list):
            results = self._answer(inputs, 0)  # all at once: batches are then as full as they can be
            return results[0] if len(results) == 1 else results
        if isinstance(inputs, Iterator):
            return answer_in_order(inputs, self._answer, read_ahead=self.options.read_ahead)
        raise ValueError(f"the input must be a str, a list of str or an iterator, not {type(inputs).__name__}")

    def _answer(self, texts: list[Any], first: int | None) -> list[list[Any]]:
        """Each text's candidates. `first` is the number of the first one, None where there is only one."""
        rows = ["" if first is None else f" of text {first + number}" for number in range(len(texts))]
        if self.options.joint:
            return [self._joint(text, row, self.options.joint) for text, row in zip(texts, rows, strict=True)]
        if self.options.targets and self.options.whole_targets:
            targets = self.options.targets
            rated = [self._whole(text, row, targets) for text, row in zip(texts, rows, strict=True)]
        else:
            rated = self._best(texts, rows)
        return [masks[0] if len(masks) == 1 else masks for masks in rated]

    def _encode(self, text: object, row: str) -> EncodedText:
        if not isinstance(text, str):
            raise ValueError(f"the input{row} must be a str, not {type(text).__name__}: {text!r:.60}")
        no_mask = f"No mask_token ({self.model.encoder.mask_token}) found on the input{row}: {text[:60]!r}"
        try:
            encoded = self.model.encoder.encode(text)
        except TextError as error:
            unmasked = error.status in (TextStatus.EMPTY_TEXT, TextStatus.TOO_LONG)
            raise TextError(error.status, no_mask if unmasked else f"the input{row}: {error}") from error
        if not encoded.mask_positions:
            raise TextError(TextStatus.NO_MASK, no_mask)
        return encoded

    def _best(self, texts: Sequence[object], rows: Sequence[str]) -> list[list[list[Candidate]]]:
        """For each text and mask the most probable tokens, all of the vocabulary or of the targets."""
        asked: list[tuple[EncodedText, Sequence[Sequence[int]] | None]] = []
        ranked = self.model.vocab_size if self.options.target_ids else self.options.top_k

        def make_queries() -> Iterator[Query]:
            for each in zip(texts, rows, strict=True):
                asked.append(self._asked(*each))
                encoded, _ = asked[-1]
                yield Query(encoded.input_ids, encoded.mask_positions, (0,) * len(encoded.mask_positions))

        def finish(number: int, outputs: Outputs) -> list[list[Candidate]]:
            return self._masks(*asked[number], outputs)

        found = self.model.answer_each(make_queries(), ["top_ids", "top_logprobs"], ranked, finish)
        for masks, row in zip(found, rows, strict=True):
            refuse_nan(f"the input{row}", any(math.isnan(one["score"]) for mask in masks for one in mask))
        return found

    def _asked(self, text: object, row: str) -> tuple[EncodedText, Sequence[Sequence[int]] | None]:
        """A text, encoded, and the ids to choose from at each of its masks, where not all of them are meant."""
        encoded, ids = self._encode(text, row), self.options.target_ids
        return encoded, _at(ids, encoded, row) if ids else None

    def _masks(
        self, text: EncodedText, targets: Sequence[Sequence[int]] | None, outputs: Outputs
    ) -> list[list[Candidate]]:
        """For each mask its candidates, from the ranking of the vocabulary."""
        lists = []
        for mask, (ids, logprobs) in enumerate(zip(outputs["top_ids"], outputs["top_logprobs"], strict=True)):
            kept = slice(None) if targets is None else np.isin(ids, targets[mask])
            pairs = zip(ids[kept].tolist(), logprobs[kept].tolist(), strict=True)
            sequence = self._sequences(text, mask)
            lists.append(
                [
                    {
                        "score": math.exp(logprob),
                        "token": token,
                        "token_str": self.model.decoder.token_str(token),
                        "sequence": sequence((token,)),
                    }
                    | _cut(text)
                    for token, logprob in list(pairs)[: self.options.top_k]
                ]
            )
        return lists

    def _whole(self, text: object, row: str, targets: TargetLists[str]) -> list[list[Candidate]]:
        """For each mask its targets; `score` is the geometric mean of the pieces' probabilities."""
        encoded = self._encode(text, row)
        words = TargetLists(_at(targets, encoded, row), per_mask=True)
        pieces_of = pieces_of_words([encoded], words, self.model.encoder, first=0)
        (rated,) = score_whole_targets([encoded], pieces_of, self.model.encoder, self.model.answer_queries)
        refuse_nan(f"the input{row}", any(target.has_nan for targets in rated for target in targets))
        return [
            [
                {
                    "score": math.exp(target.mean_logprob),
                    "token": target.tokens[0],
                    "token_str": target.target,
                    "sequence": self._sequences(encoded, mask)(target.tokens),
                    "tokens": list(target.tokens),
                    "logprob": target.logprob,
                }
                | _cut(encoded)
                for target in targets[: self.options.top_k]
            ]
            for mask, targets in enumerate(rated)
        ]

    def _joint(self, text: object, row: str, order: Order) -> list[Candidate]:
        """Fillings of all masks together; `token` and `token_str` are lists, in reading order."""
        encoded = self._encode(text, row)
        beams = min(max(BEAMS, self.options.top_k), self.model.vocab_size)
        fills = joint_fills(encoded, self.model.decoder, self.model.answer_queries, order=order, beams=beams)
        refuse_nan(f"the input{row}", any(fill.has_nan for fill in fills))
        return [
            {
                "score": math.exp(fill.logprob),
                "token": list(fill.tokens),
                "token_str": list(fill.token_strs),
                "sequence": fill.sequence,
                "order": list(fill.order),
            }
            | _cut(encoded)
            for fill in fills[: self.options.top_k]
        ]

    def _sequences(self, text: EncodedText, mask: int) -> Callable[[Sequence[int]], str]:
        """Token ids -> the text with them in place of one mask. As in transformers [CLS] and [SEP] stay where there are
        several masks."""
        ids, at = text.input_ids.tolist(), text.mask_positions[mask]
        one = len(text.mask_positions) == 1
        start, stop = 0, len(ids)
        if self.options.skip_special_tokens and not one:
            start, stop = len(self.model.encoder.prefix), len(ids) - len(self.model.encoder.suffix)
        return self.model.decoder.sequences(ids[start:at], ids[at + 1 : stop], skip_special_tokens=one)


def _at(targets: TargetLists[T], text: EncodedText, row: str) -> tuple[tuple[T, ...], ...]:
    try:
        return targets.at(len(text.mask_positions))
    except ValueError as error:
        raise ValueError(f"the input{row}: {error}") from error


def _cut(text: EncodedText) -> Candidate:
    return {"truncated": True} if text.truncated else {}
