"""The predictor: what a masked language model says of texts."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import BeforeBatch, Graph, OnnxGraph, Outputs, WatchedGraph
from maskedge.bundle.format import Bundle
from maskedge.bundle.golden_vectors import Verification, choose_precision, replay
from maskedge.bundle.hub import find_bundle
from maskedge.bundle.threads import usable_cpus
from maskedge.errors import TextError
from maskedge.inference.batching import Query, answer_queries, stream_answers
from maskedge.inference.beam_search import BEAMS, Order, check_order, joint_fills
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.filling import KnownTokens, fill_masks, refuse_unmasked
from maskedge.inference.multi_piece_targets import with_whole_targets
from maskedge.inference.pipeline_arguments import CallArguments, CallOptions, read_arguments
from maskedge.inference.pipeline_call import FillMask
from maskedge.inference.scoring import Method, check_method, refuse_masked, score_sentences
from maskedge.inference.streaming import answer_in_order, check_stream
from maskedge.inference.targets import TargetLists, read_targets
from maskedge.results import Fill, JointFill, SentenceScore

__all__ = ["Predictor"]

Words = str | Iterable[str] | Iterable[Iterable[str]]
"""One word, words for every mask, or a list of words for each mask."""

TOKENIZER_CONFIG = "tokenizer_config.json"

READ_AHEAD = 64
"""Texts: enough for batches of equal length, and soon answered."""


class Predictor:
    """A bundle opened for prediction. Holds no state between calls; may be called from several threads at once.

    A text's floats are the same bits whatever it is batched with and however many threads run.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        graph: Graph,
        encoder: TextEncoder,
        decoder: TextDecoder,
        threads: int,
        call_defaults: CallOptions,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.graph = graph
        self.encoder = encoder
        self.decoder = decoder
        self.threads = threads
        self.call_defaults = call_defaults

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        revision: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        verify: bool = True,
        before_batch: BeforeBatch | None = None,
    ) -> "Predictor":
        """The predictor of a bundle directory; of the bundled English model where `path` is None.

        `path` may also be the id of a bundle on the Hugging Face Hub, such as `org/name`, and `revision` its branch,
        tag or commit: see `maskedge.bundle.hub`.
        `precision` names one of the bundle's graphs (by default its first, or on a CPU where the sums of that one
        saturate another: see `maskedge.bundle.golden_vectors`), `threads` how many batches run at once (the process's
        usable CPUs by default); `verify=False` skips comparing every file with its hash. `before_batch` is called
        before each batch runs, with the tokens in it and from several threads at once; to stop a call, it raises.
        Raises BundleNotFoundError or BundleCorruptError; warns with Int8SaturationWarning.
        """
        bundle = Bundle.open(find_bundle(path, revision), verify=verify)
        manifest = bundle.manifest
        precision, entry = bundle.graph(choose_precision(manifest.graphs, precision, cpu_features()))
        encoder = TextEncoder.of_bundle(bundle)
        config = bundle.file(TOKENIZER_CONFIG) if (bundle.path / TOKENIZER_CONFIG).exists() else None
        decoder = TextDecoder.from_config(encoder.tokenizer, config)
        graph: Graph = OnnxGraph(bundle.graph_file(entry))
        if before_batch is not None:
            graph = WatchedGraph(graph, before_batch)
        return cls(bundle, precision, graph, encoder, decoder, threads or usable_cpus(), CallOptions())

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.manifest.name

    @property
    def mask_token(self) -> str:
        """The model's own mask token; `[MASK]` and `<mask>` both stand for it."""
        return self.encoder.mask_token

    @property
    def fingerprint(self) -> str:
        """SHA-256 that tells bundles apart: equal fingerprints give equal scores on one kind of CPU."""
        return self.bundle.fingerprint

    def __call__(self, inputs: object, **arguments: Unpack[CallArguments]) -> Any:
        """What `transformers.pipeline("fill-mask")` returns.

        For a text a list of `{score, token, token_str, sequence}`, one such list a mask where it has several; for a
        list of texts a list of those, and for an iterator a lazy one. Raises TextError for a text without a mask or
        that cannot be read, ValueError for what is no text, TypeError for an unknown argument.
        """
        options = read_arguments(self.call_defaults, arguments, self.encoder, self.bundle.manifest.vocab_size)
        fill_mask = FillMask(self.encoder, self.decoder, self.bundle.manifest.vocab_size, self._answer, options)
        return fill_mask(inputs)

    def with_defaults(self, **arguments: Unpack[CallArguments]) -> "Predictor":
        """The same model, called with these arguments wherever a call does not give its own. Raises as a call."""
        options = read_arguments(self.call_defaults, arguments, self.encoder, self.bundle.manifest.vocab_size)
        return self._with(options)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled predictor is opened again from its bundle's directory, in another process for instance.

        Its `before_batch` stays behind: nobody listens there.
        """
        return _reopen, (self.bundle.path, self.precision, self.threads, self.call_defaults)

    def fill(self, texts: Sequence[str], *, top_k: int = 5, targets: Words | None = None) -> list[Fill]:
        """For each text, what the model says at its masks; several masks are filled independently.

        `targets` are words to rate at each mask, whole, or a list of words for each mask. Raises TextError, naming the
        text, for one without a mask or that cannot be encoded, and ValueError for a `top_k` outside 0 to the
        vocabulary's size or a target that the vocabulary cannot spell.
        """
        self._check_top_k(top_k)
        return self._fill_texts(texts, 0, top_k, read_targets(targets) if targets is not None else None)

    def fill_many(
        self, texts: Iterable[str], *, top_k: int = 5, targets: Words | None = None, read_ahead: int = READ_AHEAD
    ) -> Iterator[Fill]:
        """As `fill`, of any number of texts: results come in order while `texts` is read, at most `read_ahead` of it
        at a time. An error comes after the results of all texts before the one that caused it.
        """
        check_stream(texts, read_ahead)
        self._check_top_k(top_k)
        words = read_targets(targets) if targets is not None else None

        def fill(some: list[str], first: int) -> list[Fill]:
            return self._fill_texts(some, first, top_k, words)

        return answer_in_order(texts, fill, read_ahead=read_ahead)

    def fill_jointly(
        self, texts: Sequence[str], *, top_k: int = 5, order: Order = "left_to_right", beams: int | None = None
    ) -> list[tuple[JointFill, ...]]:
        """For each text the `top_k` best fillings of all its masks together that a beam search finds, best first.

        `order` says which mask is filled next: `left_to_right`, or the one that the model is surest of (`confidence`).
        Of the fillings begun, `beams` are kept at each step (at least 8 and `top_k` by default); 1 is greedy. Raises as
        `fill`, and ValueError for another order.
        """
        check_order(order)
        self._check_top_k(top_k)
        beams = min(max(BEAMS, top_k) if beams is None else beams, self.bundle.manifest.vocab_size)
        if beams < max(1, top_k):
            raise ValueError(f"beams is {beams}; it must be at least 1, and no less than top_k, which is {top_k}")
        encoded = self._encode_all(texts)
        for index, text in enumerate(encoded):
            refuse_unmasked(index, text, self.mask_token)
        fills = [joint_fills(text, self.decoder, self._answer, order=order, beams=beams) for text in encoded]
        return [tuple(each[:top_k]) for each in fills]

    def score(self, texts: Sequence[str], *, method: Method = "original") -> list[SentenceScore]:
        """For each text, its pseudo-log-likelihood: every token is masked in turn, alone or with others of its word.

        `maskedge.inference.scoring` defines the methods, and the windows through which a text longer than the model is
        read. Memory does not grow with a text's length but for its result. Raises TextError, naming the text, for one
        with a mask or that cannot be encoded, and ValueError for an unknown method.
        """
        check_method(method)
        return self._score_texts(texts, 0, method)

    def score_many(
        self, texts: Iterable[str], *, method: Method = "original", read_ahead: int = READ_AHEAD
    ) -> Iterator[SentenceScore]:
        """As `score`, of any number of texts: results come in order while `texts` is read, at most `read_ahead` of it
        at a time. An error comes after the results of all texts before the one that caused it.
        """
        check_method(method)
        check_stream(texts, read_ahead)
        return answer_in_order(texts, partial(self._score_texts, method=method), read_ahead=read_ahead)

    def verify(self) -> Verification:
        """Replays the graph's golden vectors: whether this CPU gives what the exporting machine recorded."""
        _, entry = self.bundle.graph(self.precision)
        return replay(self.graph, self.precision, entry.golden, cpu_features())

    def encode(self, text: str) -> EncodedText:
        """The text as the model reads it. Raises TextError where it cannot be read."""
        return self.encoder.encode(text)

    def target_id(self, encoded: EncodedText, mask: int, word: str) -> int | None:
        """The id that `word` has in place of the text's mask number `mask`; None where it is no single token."""
        return self.encoder.target_id(encoded, mask, word)

    def fill_encoded(
        self, encoded: Sequence[EncodedText], *, top_k: int = 5, targets: Sequence[KnownTokens] | None = None
    ) -> list[Fill]:
        """As `fill`, of encoded texts; `targets` holds for each text one known id, or None, a mask.

        Raises ValueError, naming the text, for targets of another number or outside the vocabulary.
        """
        self._check_top_k(top_k)
        known = targets if targets is not None else [[None] * len(text.mask_positions) for text in encoded]
        vocab_size = self.bundle.manifest.vocab_size
        return fill_masks(encoded, known, self.encoder, self._answer, top_k=top_k, vocab_size=vocab_size)

    def score_encoded(self, encoded: Sequence[EncodedText], *, method: Method = "original") -> list[SentenceScore]:
        """As `score`, of encoded texts."""
        check_method(method)
        return self._score_encoded(encoded, 0, method)

    def _with(self, options: CallOptions) -> "Predictor":
        return Predictor(self.bundle, self.precision, self.graph, self.encoder, self.decoder, self.threads, options)

    def _score_texts(self, texts: Sequence[str], first: int, method: Method) -> list[SentenceScore]:
        return self._score_encoded(self._encode_all(texts, first), first, method)

    def _score_encoded(self, encoded: Sequence[EncodedText], first: int, method: Method) -> list[SentenceScore]:
        for index, text in enumerate(encoded, first):
            refuse_masked(index, text)
        return list(score_sentences(encoded, self.encoder, method, self._target_logprobs))

    def _fill_texts(self, texts: Sequence[str], first: int, top_k: int, targets: TargetLists[str] | None) -> list[Fill]:
        encoded = self._encode_all(texts, first)
        for index, text in enumerate(encoded, first):
            refuse_unmasked(index, text, self.mask_token)
        fills = self.fill_encoded(encoded, top_k=top_k)
        return (
            fills if targets is None else with_whole_targets(fills, encoded, targets, self.encoder, self._answer, first)
        )

    def _encode_all(self, texts: Sequence[str], first: int = 0) -> list[EncodedText]:
        if isinstance(texts, str):
            raise TypeError("texts is a str; give a list of texts")
        encoded = []
        for index, text in enumerate(texts, first):
            try:
                encoded.append(self.encode(text))
            except TextError as error:
                raise TextError(error.status, f"text {index}: {error}") from error
        return encoded

    def _answer(self, queries: list[Query], outputs: list[str], top_k: int) -> list[Outputs]:
        mask_id = self.encoder.mask_id
        return answer_queries(self.graph, queries, mask_id=mask_id, outputs=outputs, top_k=top_k, threads=self.threads)

    def _target_logprobs(self, queries: Iterable[Query]) -> Iterator[Outputs]:
        mask_id, threads = self.encoder.mask_id, self.threads
        return stream_answers(
            self.graph, queries, mask_id=mask_id, outputs=["target_logprobs"], top_k=0, threads=threads
        )

    def _check_top_k(self, top_k: int) -> None:
        size = self.bundle.manifest.vocab_size
        if not 0 <= top_k <= size:
            raise ValueError(f"top_k is {top_k}; it must be from 0 to {size}, the size of the vocabulary")


def _reopen(path: Path, precision: str, threads: int, options: CallOptions) -> Predictor:
    return Predictor.load(path, precision=precision, threads=threads)._with(options)
