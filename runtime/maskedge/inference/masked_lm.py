"""A masked language model at work: texts and encoded texts -> fills, joint fills and sentence scores."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from maskedge.bundle.engine import Graph, Outputs
from maskedge.errors import refuse_nan
from maskedge.inference.batching import Finish, Query, answer_each, answer_queries, stream_answers
from maskedge.inference.beam_search import BEAMS, Order, check_order, joint_fills
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.filling import KnownTargets, fill_masks, refuse_unmasked, whole_words
from maskedge.inference.influence import word_influence
from maskedge.inference.multi_piece_targets import pieces_of_words, with_whole_targets
from maskedge.inference.scoring import Method, check_method, refuse_masked, score_sentences
from maskedge.inference.targets import TargetLists, Words, read_targets
from maskedge.inference.workers import Workers
from maskedge.results import Fill, Influence, JointFill, SentenceScore

__all__ = ["MaskedLM"]

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class MaskedLM:
    """A graph with what turns texts into its inputs and its outputs into text.

    Errors name a text by its index. Where texts come in parts, `first` is the index of the part's first one.
    """

    graph: Graph
    encoder: TextEncoder
    decoder: TextDecoder
    vocab_size: int
    workers: Workers
    """Run the batches."""

    def filler(self, top_k: int, targets: Words | None) -> Callable[..., list[Fill]]:
        """`fill_texts` with these arguments, which are looked at before any text is. Raises ValueError."""
        self.check_top_k(top_k)
        words = None if targets is None else read_targets(targets)
        return partial(self.fill_texts, top_k=top_k, targets=words)

    def fill_texts(
        self, texts: Sequence[str], first: int = 0, *, top_k: int, targets: TargetLists[str] | None = None
    ) -> list[Fill]:
        """Each text's fill, with `targets` rated whole at its masks. Raises as `Predictor.fill`."""
        encoded: list[EncodedText] = []

        def encode_each() -> Iterator[EncodedText]:
            for text in self._each_masked(texts, first):
                encoded.append(text)
                yield text

        fills = self._fills(encode_each(), None, top_k)
        for index, fill in enumerate(fills, first):
            refuse_nan(f"text {index}", fill.has_nan)
        if targets is None:
            return fills
        pieces_of = pieces_of_words(encoded, targets, self.encoder, first)
        return with_whole_targets(fills, encoded, pieces_of, self.encoder, self.answer_queries)

    def fill_encoded(
        self, encoded: Sequence[EncodedText], *, top_k: int, targets: Sequence[KnownTargets] | None = None
    ) -> list[Fill]:
        """Each encoded text's fill. Raises as `Predictor.fill_encoded`."""
        self.check_top_k(top_k)
        fills = self._fills(encoded, targets, top_k)
        words = whole_words(targets or [], self.encoder)
        if not any(any(masks) for masks in words):
            return fills
        return with_whole_targets(fills, encoded, words, self.encoder, self.answer_queries)

    def _fills(self, encoded: Iterable[EncodedText], known: Sequence[KnownTargets] | None, top_k: int) -> list[Fill]:
        size = self.vocab_size
        return fill_masks(encoded, known, self.encoder, self.answer_each, top_k=top_k, vocab_size=size)

    def fill_jointly(
        self, texts: Sequence[str], *, top_k: int, order: Order, beams: int | None
    ) -> list[tuple[JointFill, ...]]:
        """Each text's `top_k` best joint fills. Raises as `Predictor.fill_jointly`."""
        check_order(order)
        self.check_top_k(top_k)
        beams = min(max(BEAMS, top_k) if beams is None else beams, self.vocab_size)
        if beams < max(1, top_k):
            raise ValueError(f"beams is {beams}; it must be at least 1, and no less than top_k, which is {top_k}")
        encoded = self._encode_masked(texts, 0)
        fills = [joint_fills(text, self.decoder, self.answer_queries, order=order, beams=beams) for text in encoded]
        for index, each in enumerate(fills):
            refuse_nan(f"text {index}", any(fill.has_nan for fill in each))
        return [tuple(each[:top_k]) for each in fills]

    def influence(self, text: str, *, mask: int, token: int | None) -> Influence:
        """How much each word matters at a mask. Raises as `Predictor.influence`."""
        (encoded,) = self._encode_masked([text], 0)
        masks, size = len(encoded.mask_positions), self.vocab_size
        if not 0 <= mask < masks:
            raise ValueError(f"mask is {mask}; the text's masks are numbered from 0 to {masks - 1}")
        if token is not None and not 0 <= token < size:
            raise ValueError(f"token is {token}; ids run from 0 to {size - 1}")
        found = word_influence(encoded, mask, token, self.encoder, self.answer_queries)
        refuse_nan("the text", math.isnan(found.logprob))
        return found

    def score_texts(self, texts: Sequence[str], first: int = 0, *, method: Method) -> list[SentenceScore]:
        """Each text's score. Raises as `Predictor.score`."""
        check_method(method)
        scores = self.score_encoded(self.encoder.encode_all(texts, first), first, method=method)
        for index, score in enumerate(scores, first):
            refuse_nan(f"text {index}", score.has_nan)
        return scores

    def score_encoded(self, encoded: Sequence[EncodedText], first: int = 0, *, method: Method) -> list[SentenceScore]:
        """Each encoded text's score. Raises as `Predictor.score_encoded`."""
        check_method(method)
        for index, text in enumerate(encoded, first):
            refuse_masked(index, text)
        return list(score_sentences(encoded, self.encoder, method, self.stream_target_logprobs))

    def check_top_k(self, top_k: int) -> None:
        """Raises ValueError for a `top_k` outside 0 to the vocabulary's size."""
        if not 0 <= top_k <= self.vocab_size:
            raise ValueError(f"top_k is {top_k}; it must be from 0 to {self.vocab_size}, the size of the vocabulary")

    def answer_queries(self, queries: Iterable[Query], outputs: list[str], top_k: int) -> list[Outputs]:
        """For each query the named outputs, of which those of ranking hold the `top_k` most probable tokens."""
        mask_id = self.encoder.mask_id
        return answer_queries(self.graph, queries, mask_id=mask_id, outputs=outputs, top_k=top_k, workers=self.workers)

    def answer_each(self, queries: Iterable[Query], outputs: list[str], top_k: int, finish: Finish[Made]) -> list[Made]:
        """As `answer_queries`, with what `finish` makes of each query's outputs in their place."""
        mask_id, workers = self.encoder.mask_id, self.workers
        return answer_each(self.graph, queries, finish, mask_id=mask_id, outputs=outputs, top_k=top_k, workers=workers)

    def stream_target_logprobs(self, queries: Iterable[Query]) -> Iterator[Outputs]:
        """For each query its targets' log-probabilities, as `target_logprobs`, while the queries are made."""
        mask_id, workers = self.encoder.mask_id, self.workers
        return stream_answers(
            self.graph, queries, mask_id=mask_id, outputs=["target_logprobs"], top_k=0, workers=workers
        )

    def _encode_masked(self, texts: Sequence[str], first: int) -> list[EncodedText]:
        return list(self._each_masked(texts, first))

    def _each_masked(self, texts: Sequence[str], first: int) -> Iterator[EncodedText]:
        for index, text in enumerate(self.encoder.encode_each(texts, first), first):
            refuse_unmasked(index, text, self.encoder.mask_token)
            yield text
