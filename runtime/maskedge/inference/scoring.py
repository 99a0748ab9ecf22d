"""Sentence scoring: each token's log-probability given its text, and the pseudo-log-likelihood they add up to.

A method says what is masked while a token is predicted:

- `original`            the token alone (Salazar et al. 2020, https://aclanthology.org/2020.acl-main.240)
- `within_word_l2r`     and the later tokens of its word (Kauf & Ivanova 2023, https://aclanthology.org/2023.acl-short.80);
                        the first method rates `sou ##ven ##ir` too high, each piece being all but given by the others
- `whole_word`          all tokens of its word

What a word is, `maskedge.inference.words` says. Masked copies are made when their batch is, and forgotten with its
answers.

A text longer than the model is read through windows of the model's length. Each question has a window of its own, with
the predicted tokens in its middle, moved no further than the text's ends ask: no other window shows more context on its
shorter side. A copy costs as much wherever its window lies, so the best one is as cheap as any stride.
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
"""Answers queries in their order, taking few of them before it answers the first."""

TOKENS_PER_QUERY = 32
"""Tokens of one word in one query: a head's output is targets * vocabulary floats, and a word may have hundreds."""


def check_method(method: str) -> None:
    """Raises ValueError, naming the methods there are, for another."""
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
    """Each text's score, in order, as soon as its last token is known."""
    begun: deque[_Sentence] = deque()

    def queries() -> Iterator[Query]:
        for text in texts:
            begun.append(_Sentence(text, encoder, method))
            yield from begun[-1].queries()

    logprobs: list[float] = []
    for outputs in stream_answers(queries()):
        logprobs += np.asarray(outputs["target_logprobs"])[:, 0].tolist()
        if len(logprobs) == len(begun[0].ids):
            yield begun.popleft().score(logprobs)
            logprobs = []


def _targets_and_masked(method: Method, word: range) -> Iterator[tuple[range, range]]:
    """The tokens predicted by one query, and those masked for it, until all of a word's tokens are predicted."""
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
    """A text on its way to its score. Tokens are counted without the special ones."""

    def __init__(self, text: EncodedText, encoder: TextEncoder, method: Method) -> None:
        self.text = text
        self.encoder = encoder
        self.method = method
        self.ids = text.input_ids[len(encoder.prefix) : len(text.input_ids) - len(encoder.suffix)]  # [tokens]
        self.words = divide(text.source, encoder.offsets(text))
        self.window = min(len(self.ids), encoder.room)
        self.starts: set[int] = set()
        self.context: int | None = None

    def queries(self) -> Iterator[Query]:
        """One or more for each word; their targets are the text's tokens, in order."""
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
        """Where the window around the predicted tokens begins; notes that it was read, and the context it shows."""
        last = len(self.ids) - self.window
        start = max(0, min((targets.start + targets.stop) // 2 - self.window // 2, last))
        self.starts.add(start)
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
