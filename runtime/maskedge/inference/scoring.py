"""Sentence scoring: each token's log-probability given its text, and their sum, the pseudo-log-likelihood.

A method says what is masked while a token is predicted:

- `original`            the token alone (Salazar et al. 2020, https://aclanthology.org/2020.acl-main.240)
- `within_word_l2r`     also the later tokens of its word (Kauf & Ivanova 2023,
                        https://aclanthology.org/2023.acl-short.80): with the token alone masked, each piece of
                        `sou ##ven ##ir` is rated too high, since the other pieces all but give it away
- `whole_word`          all tokens of its word

`maskedge.inference.words` defines words. A masked copy of the text is made when its batch is, and dropped once the
batch is answered, so that the copies of a long text are never all in memory.

A text longer than the model is read through windows of the model's length. Each query has a window of its own, with the
predicted tokens in its middle, or as near to it as the text's ends allow: no other window shows more context on its
shorter side. Windows at a fixed stride would save nothing, because every query is a run of the model anyway.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Outputs
from maskedge.errors import TextError
from maskedge.inference.batching import Query
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.metrics import bits_per_character, perplexity
from maskedge.inference.words import Word, count_words, divide
from maskedge.results import SentenceScore, TextStatus, TokenScore, WordScore

__all__ = ["Method", "StreamAnswers", "check_method", "refuse_masked", "score_sentences"]

Method = Literal["original", "within_word_l2r", "whole_word"]

StreamAnswers = Callable[[Iterable[Query]], Iterator[Outputs]]
"""Queries -> their answers in order, of which the first comes after few of the queries have been taken."""

TOKENS_PER_QUERY = 32
"""Most tokens that one query predicts: the model's output for it is tokens * vocabulary floats, and a word may have
hundreds of tokens."""


def check_method(method: str) -> None:
    """Raises ValueError, which lists the methods there are, for any other."""
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(get_args(Method))}")


def refuse_masked(index: int, text: EncodedText) -> None:
    """Raises TextError, naming the text by its index, where it has a mask."""
    if text.mask_positions:
        raise TextError(
            TextStatus.UNEXPECTED_MASK,
            f"text {index}: {text.text[:60]!r} holds a mask; "
            "pseudo-log-likelihood is defined for whole texts: fill it instead",
        )


def score_sentences(
    texts: Iterable[EncodedText], encoder: TextEncoder, method: Method, stream_answers: StreamAnswers
) -> Iterator[SentenceScore]:
    """Each text's score, in order, as soon as its last token is predicted."""
    begun: deque[_Sentence] = deque()  # texts whose queries were made and whose answers are not all there

    def queries() -> Iterator[Query]:
        for text in texts:
            begun.append(_Sentence(text, encoder, method))
            yield from begun[-1].queries()

    # Answers come in the queries' order, so they belong to the first text that was begun until its tokens are complete.
    logprobs: list[float] = []
    for outputs in stream_answers(queries()):
        logprobs += np.asarray(outputs["target_logprobs"])[:, 0].tolist()
        if len(logprobs) == len(begun[0].ids):
            yield begun.popleft().score(logprobs)
            logprobs = []


def _targets_and_masked(method: Method, word: range) -> Iterator[tuple[range, range]]:
    """For each query of a word the tokens that it predicts and the tokens that are masked for it.

    Together the queries predict every token of the word, in order.
    """
    step = TOKENS_PER_QUERY if method == "whole_word" else 1
    for start in range(word.start, word.stop, step):
        targets = range(start, min(start + step, word.stop))
        match method:
            case "original":
                yield targets, targets
            case "within_word_l2r":
                yield targets, range(start, word.stop)
            case "whole_word":
                yield targets, word


class _Sentence:
    """A text on its way to its score. Its tokens are numbered without the special ones."""

    def __init__(self, text: EncodedText, encoder: TextEncoder, method: Method) -> None:
        self.text = text
        self.encoder = encoder
        self.method = method
        self.ids = text.input_ids[len(encoder.prefix) : len(text.input_ids) - len(encoder.suffix)]  # [tokens]
        self.words = divide(text.source, encoder.offsets(text))
        self.window = min(len(self.ids), encoder.room)  # tokens of text in a query
        self.starts: set[int] = set()  # where the windows that were read begin
        self.context: int | None = None  # as SentenceScore.context

    def queries(self) -> Iterator[Query]:
        """One query or more for each word. Their targets, one after the other, are the text's tokens in order."""
        for word in self.words:
            for targets, masked in _targets_and_masked(self.method, word.tokens):
                yield self._query(targets, masked)

    def score(self, logprobs: list[float]) -> SentenceScore:
        """The score, once all tokens' log-probabilities are known."""
        pll, text = math.fsum(logprobs), self.text.text
        word_count = max(1, count_words(text))
        return SentenceScore(
            text=text,
            pll=pll,
            token_count=len(logprobs),
            pseudo_perplexity=perplexity(pll, len(logprobs)),
            tokens=tuple(map(self._token_score, self.ids.tolist(), logprobs)),
            method=self.method,
            word_count=word_count,
            pseudo_perplexity_per_word=perplexity(pll, word_count),
            bits_per_character=bits_per_character(pll, len(text)),
            words=tuple(self._word_score(word, logprobs) for word in self.words),
            windows=len(self.starts),
            context=self.context,
        )

    def _query(self, targets: range, masked: range) -> Query:
        start = self._window_start(targets)
        # A token's number in the text -> its position in the window, which begins with special tokens.
        shift = len(self.encoder.prefix) - start
        return Query(
            input_ids=self._window_ids(start),
            mask_positions=tuple(token + shift for token in targets),
            target_ids=tuple(self.ids[targets.start : targets.stop].tolist()),
            also_masked=tuple(
                token + shift for token in masked if token not in targets and start <= token < start + self.window
            ),
        )

    def _window_start(self, targets: range) -> int:
        """The first token of the window around the predicted tokens. Notes that it is read, and how much it shows."""
        last = len(self.ids) - self.window
        start = max(0, min((targets.start + targets.stop) // 2 - self.window // 2, last))
        self.starts.add(start)
        # At an end of the text the model sees all there is, so only sides where the text goes on count.
        if start > 0:
            self._note_context(targets.start - start)
        if start < last:
            self._note_context(start + self.window - targets.stop)
        return start

    def _note_context(self, tokens: int) -> None:
        self.context = tokens if self.context is None else min(self.context, tokens)

    def _window_ids(self, start: int) -> Int64Array:
        if self.window == len(self.ids):
            return self.text.input_ids
        content = self.ids[start : start + self.window]
        return np.array([*self.encoder.prefix, *content, *self.encoder.suffix], np.int64)

    def _token_score(self, token: int, logprob: float) -> TokenScore:
        return TokenScore(token, self.encoder.token_str(token), logprob)

    def _word_score(self, word: Word, logprobs: list[float]) -> WordScore:
        return WordScore(
            word=self.text.text[word.start : word.stop],
            start=word.start,
            stop=word.stop,
            token_count=len(word.tokens),
            logprob=math.fsum(logprobs[word.tokens.start : word.tokens.stop]),
        )
