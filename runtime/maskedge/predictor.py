"""The predictor: fills the masks of texts and scores sentences with a bundle's model."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack

from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import BeforeBatch, EngineChoice, EngineName, Graph
from maskedge.bundle.engine_choice import open_attention_graph, open_graph
from maskedge.bundle.format import Bundle
from maskedge.bundle.golden_vectors import Verification, choose_precision, replay
from maskedge.bundle.hub import find_bundle
from maskedge.bundle.threads import usable_cpus
from maskedge.inference.attention import attentions
from maskedge.inference.beam_search import Order
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.filling import KnownTargets
from maskedge.inference.masked_lm import MaskedLM
from maskedge.inference.multi_piece_targets import word_pieces
from maskedge.inference.pipeline_arguments import CallArguments, CallOptions, read_arguments
from maskedge.inference.pipeline_call import FillMask
from maskedge.inference.scoring import Method, check_method
from maskedge.inference.streaming import READ_AHEAD, READ_AHEAD_SCORES, answer_in_order, check_stream
from maskedge.inference.targets import Words
from maskedge.inference.workers import Workers
from maskedge.results import Attention, Fill, Influence, JointFill, SentenceScore

__all__ = ["Predictor"]


@dataclass(eq=False, repr=False)
class Predictor:
    """A bundle opened for prediction; `Predictor.load` opens one.

    It holds no state between calls, and several threads may call it at once. A text's floats are the same bits whatever
    it is batched with and however many threads run.
    """

    bundle: Bundle
    precision: str
    """The name of the bundle's graph in use, such as `int8`."""
    graph: Graph
    encoder: TextEncoder
    decoder: TextDecoder
    threads: int
    """Batches that run at once."""
    call_defaults: CallOptions
    """The arguments of calls that do not give their own."""
    pool: Executor | None = None
    """The threads that calls share; None: each starts its own. See `sharing_threads`."""
    engine: EngineName = "onnxruntime"
    """What runs the graph."""
    threads_per_batch: int = 1
    """That share each of the batches."""

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        revision: str | None = None,
        precision: str | None = None,
        engine: EngineChoice = "auto",
        threads: int | None = None,
        threads_per_batch: int = 1,
        verify: bool = True,
        before_batch: BeforeBatch | None = None,
    ) -> "Predictor":
        """The predictor of a bundle, which is opened.

        Args:
            path: A bundle's directory, or its id on the Hugging Face Hub, such as `org/name`; the bundled English model
                where None.
            revision: A branch, tag or commit on the Hub.
            precision: One of the bundle's graphs. By default the first, unless this CPU computes that one wrongly (see
                `maskedge.bundle.golden_vectors`).
            engine: `kernels` are the project's own, for int8 graphs of BERTs on CPUs with AVX512-VNNI; `onnxruntime`
                runs all graphs everywhere, and `openvino` where that is installed. `auto` is the fastest that runs the
                graph here and finds the bundle's golden vectors again.
            threads: Batches that run at once; by default as many as the process may use CPUs.
            threads_per_batch: Threads that share each of these batches. One is the fastest for many texts; more, with
                as many fewer `threads`, have one text's answer sooner.
            verify: Whether every file is compared with its hash.
            before_batch: Called before each batch runs, with the number of tokens in it and from several threads at
                once; to stop a call, it raises.

        Raises:
            BundleNotFoundError: There is no such bundle, or no such graph in it.
            BundleCorruptError: A file of the bundle is missing, altered or malformed.
            EngineError: The engine is not installed, cannot read the graph, or does not compute what the golden vectors
                say.
            ValueError: A revision was given of what is not on the Hub, there is no such engine, or a number of threads
                is below 1.

        Warns:
            Int8SaturationWarning: This CPU computes the int8 graph wrongly, or a slower graph is used instead.
        """
        bundle = Bundle.open(find_bundle(path, revision), verify=verify)
        precision, _ = bundle.graph(choose_precision(bundle.manifest.graphs, precision, cpu_features()))
        threads = threads or usable_cpus()
        if threads < 1 or threads_per_batch < 1:
            raise ValueError(f"threads is {threads}, threads_per_batch {threads_per_batch}; both must be at least 1")
        with ThreadPoolExecutor(1) as pool:  # both take about as long, and neither needs the other
            opened = pool.submit(open_graph, bundle, precision, engine, threads, before_batch, threads_per_batch)
            encoder = TextEncoder.of_bundle(bundle)
            decoder = TextDecoder.of_bundle(bundle, encoder.tokenizer)
            graph, engine = opened.result()
        return cls(bundle, precision, graph, encoder, decoder, threads, CallOptions(), None, engine, threads_per_batch)

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
        """Fills masks as `transformers.pipeline("fill-mask")` does.

        Args:
            inputs: A text, a list of texts, or an iterator over texts.
            **arguments: `top_k`, `targets` and the others that `maskedge.inference.pipeline_arguments` describes.

        Returns:
            A text's candidates, each `{score, token, token_str, sequence}`, or a list of them for each mask where it
                has several. A list of those for a list of texts, and a lazy iterator over those for an iterator.

        Raises:
            TextError: A text has no mask or cannot be read.
            ValueError: An input is no text, or an argument's value is impossible.
            TypeError: An argument is unknown.
        """
        options = read_arguments(self.call_defaults, arguments, self.encoder, self.bundle.manifest.vocab_size)
        return FillMask(self._model, options)(inputs)

    def with_defaults(self, **arguments: Unpack[CallArguments]) -> "Predictor":
        """A predictor with the same model and other default arguments of calls.

        Args:
            **arguments: Those of a call, for calls that do not give their own.

        Raises:
            TypeError: An argument is unknown.
            ValueError: An argument's value is impossible.
        """
        options = read_arguments(self.call_defaults, arguments, self.encoder, self.bundle.manifest.vocab_size)
        return replace(self, call_defaults=options)

    @contextmanager
    def sharing_threads(self) -> Iterator["Predictor"]:
        """A predictor with the same model for calls from several threads at once.

        All its calls together run `threads` batches at once, those of earlier calls first, where each call of others
        runs that many. As one call waits for its last batches, the next one's run. It must not be used after the block,
        nor be taken into a forked process.
        """
        with ThreadPoolExecutor(self.threads, "maskedge-model") as pool:
            yield replace(self, pool=pool)

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle keeps: where the bundle lies, to open it again in another process. `before_batch` is not kept."""
        load = partial(
            Predictor.load,
            precision=self.precision,
            engine=self.engine,
            threads=self.threads,
            threads_per_batch=self.threads_per_batch,
        )
        return load, (self.bundle.path,), {"call_defaults": self.call_defaults}

    def fill(self, texts: Sequence[str], *, top_k: int = 5, targets: Words | None = None) -> list[Fill]:
        """Fills the masks of texts, several masks of one text independently of each other.

        Args:
            texts: Each with a mask or more, spelled `[MASK]` or `<mask>`.
            top_k: How many of the most probable tokens are returned for each mask.
            targets: Words to rate at each mask, all pieces of a word together; or a list of words for each mask.

        Returns:
            One result for each text, in order.

        Raises:
            TextError: A text, which the message names, has no mask or cannot be encoded.
            ValueError: `top_k` is not from 0 to the vocabulary's size, or the vocabulary cannot spell a target.
        """
        return self._model.filler(top_k, targets)(texts)

    def fill_many(
        self, texts: Iterable[str], *, top_k: int = 5, targets: Words | None = None, read_ahead: int = READ_AHEAD
    ) -> Iterator[Fill]:
        """Fills the masks of any number of texts while they are read, as `fill` does.

        Args:
            texts: As in `fill`.
            top_k: As in `fill`.
            targets: As in `fill`.
            read_ahead: Most texts that are read at a time, at least 1; fewer are where they are long or slow in coming.

        Returns:
            An iterator over one result for each text, in order.

        Raises:
            TextError: As `fill`, after the fills of all texts before the one that caused it.
            ValueError: As `fill`, or for a `read_ahead` below 1.
        """
        check_stream(texts, read_ahead)
        fill = self._model.filler(top_k, targets)
        return answer_in_order(texts, fill, read_ahead=read_ahead, predictions=top_k)

    def fill_jointly(
        self, texts: Sequence[str], *, top_k: int = 5, order: Order = "left_to_right", beams: int | None = None
    ) -> list[tuple[JointFill, ...]]:
        """Fills all masks of a text together, by a beam search.

        Args:
            texts: As in `fill`.
            top_k: How many fillings are returned for each text.
            order: Which mask is filled next: `left_to_right` the next in reading order, `confidence` the one whose best
                token is the most probable.
            beams: How many unfinished fillings are kept at each step; 1 is greedy. By default 8, or `top_k` if larger.

        Returns:
            For each text the fillings that the search found, best first.

        Raises:
            TextError: As `fill`.
            ValueError: As `fill` for `top_k`, or for another order or for `beams` below 1 or below `top_k`.
        """
        return self._model.fill_jointly(texts, top_k=top_k, order=order, beams=beams)

    def score(self, texts: Sequence[str], *, method: Method = "original") -> list[SentenceScore]:
        """Scores texts by their pseudo-log-likelihood: every token is masked in turn.

        A text longer than the model is read through windows, which `maskedge.inference.scoring` defines. Only the
        result takes more memory for a longer text.

        Args:
            texts: Without masks.
            method: What is masked while a token is predicted: `original` it alone, `within_word_l2r` the later tokens
                of its word too, `whole_word` all tokens of its word.

        Returns:
            One result for each text, in order; log-probabilities are in nats.

        Raises:
            TextError: A text, which the message names, has a mask or cannot be encoded.
            ValueError: There is no such method.
        """
        return self._model.score_texts(texts, method=method)

    def score_many(
        self, texts: Iterable[str], *, method: Method = "original", read_ahead: int = READ_AHEAD_SCORES
    ) -> Iterator[SentenceScore]:
        """Scores any number of texts while they are read, as `score` does.

        Args:
            texts: As in `score`.
            method: As in `score`.
            read_ahead: As in `fill_many`.

        Returns:
            An iterator over one result for each text, in order.

        Raises:
            TextError: As `score`, after the scores of all texts before the one that caused it.
            ValueError: As `score`, or for a `read_ahead` below 1.
        """
        check_method(method)
        check_stream(texts, read_ahead)
        return answer_in_order(texts, partial(self._model.score_texts, method=method), read_ahead=read_ahead)

    def attend(self, text: str) -> Attention:
        """Where each attention head looks while the model reads a text.

        Args:
            text: With masks or without; cut where it is longer than the model.

        Returns:
            The text's tokens and the probabilities [layers, heads, queries, keys].

        Raises:
            TextError: The text cannot be encoded.
            BundleNotFoundError: The bundle has no attention graph, as `mlm-export bundle` writes it.
        """
        return self.attend_encoded([self.encode(text)])[0]

    def attend_encoded(self, encoded: Sequence[EncodedText]) -> list[Attention]:
        """Where each attention head looks while the model reads encoded texts, as `attend` does.

        Args:
            encoded: From `encode`. Their attention takes layers * heads * length² * 4 bytes each.

        Returns:
            One result for each text, in order.

        Raises:
            BundleNotFoundError: As `attend`.
        """
        return attentions(encoded, self.encoder, self._attention_graph, self._workers)

    def influence(self, text: str, *, mask: int = 0, token: int | None = None) -> Influence:
        """How much each other word matters to the prediction at a mask: each is masked in turn.

        It is the model's answer that is looked at. Attention (`attend`) says what the model looked at on the way.

        Args:
            text: With masks.
            mask: The number of the mask, in reading order from 0. Other masks stay masked.
            token: The vocabulary id to ask about; the most probable one where None.

        Returns:
            The prediction, and by how many nats each word raises its log-probability.

        Raises:
            TextError: The text has no mask or cannot be encoded.
            ValueError: There is no such mask or token.
        """
        return self._model.influence(text, mask=mask, token=token)

    def verify(self) -> Verification:
        """What replaying the graph's golden vectors finds: whether this CPU computes what the exporting machine did."""
        _, entry = self.bundle.graph(self.precision)
        return replay(self.graph, self.precision, entry.golden, cpu_features(), self.engine)

    def encode(self, text: str) -> EncodedText:
        """The text as the model reads it.

        Args:
            text: With masks or without.

        Raises:
            TextError: The text cannot be read; `TextStatus` has the reasons.
        """
        return self.encoder.encode(text)

    def target_id(self, encoded: EncodedText, mask: int, word: str) -> int | None:
        """The vocabulary id of a word in place of a mask, or None where the word is no single token there.

        Args:
            encoded: A text with masks.
            mask: The number of one of them, from 0.
            word: As it is written in the text.
        """
        return self.encoder.target_id(encoded, mask, word)

    def target_pieces(self, encoded: EncodedText, mask: int, word: str) -> tuple[int, ...]:
        """The vocabulary ids that `fill` rates for a word in place of a mask; none where it cannot be spelled.

        Args:
            encoded: A text with masks.
            mask: The number of one of them, from 0.
            word: As it is written in the text.
        """
        return word_pieces(self.encoder, encoded, mask, word)

    def fill_encoded(
        self, encoded: Sequence[EncodedText], *, top_k: int = 5, targets: Sequence[KnownTargets] | None = None
    ) -> list[Fill]:
        """Fills the masks of encoded texts, as `fill` does.

        Args:
            encoded: From `encode`.
            top_k: As in `fill`.
            targets: For each text and each of its masks what is known to stand there: the vocabulary id of a token,
                whose rating is the mask's `target`; the ids of a word's pieces, from `target_pieces`, whose rating is
                the only one of the mask's `targets` where they are several; or None.

        Returns:
            One result for each text, in order; one of which the model says no number has `has_nan`.

        Raises:
            TextError: A text, which the message names, has no mask.
            ValueError: As `fill` for `top_k`, or for targets of another number than masks, without a piece, outside the
                vocabulary or with more pieces than the model reads.
        """
        return self._model.fill_encoded(encoded, top_k=top_k, targets=targets)

    def score_encoded(self, encoded: Sequence[EncodedText], *, method: Method = "original") -> list[SentenceScore]:
        """Scores encoded texts, as `score` does.

        Args:
            encoded: From `encode`.
            method: As in `score`.

        Returns:
            One result for each text, in order; one of which the model says no number has `has_nan`.

        Raises:
            TextError: A text, which the message names, has a mask.
            ValueError: There is no such method.
        """
        return self._model.score_encoded(encoded, method=method)

    @cached_property
    def _attention_graph(self) -> Graph:
        """Opened when it is first asked for: it takes the memory of a second graph."""
        return open_attention_graph(self.bundle, self.precision, self.engine, self.threads)

    @property
    def _workers(self) -> Workers:
        return Workers(self.threads, self.pool)

    @property
    def _model(self) -> MaskedLM:
        return MaskedLM(self.graph, self.encoder, self.decoder, self.bundle.manifest.vocab_size, self._workers)
