"""The predictor: what a masked language model says of texts."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from maskedge.batching import Query, answer
from maskedge.bundle import DEFAULT_BUNDLE, Bundle
from maskedge.encoding import EncodedText, TextEncoder
from maskedge.engine import Graph, OnnxGraph, Outputs
from maskedge.errors import TextError
from maskedge.metrics import perplexity
from maskedge.results import Fill, MaskFill, SentenceScore, TargetScore, TextStatus, TokenPrediction, TokenScore
from maskedge.threads import usable_cpus

__all__ = ["Predictor"]

Targets = Sequence[int | None]


class Predictor:
    """A bundle opened for prediction. Holds no state between calls; may be called from several threads at once.

    A text's floats are the same bits whatever it is batched with and however many threads run.
    """

    def __init__(self, bundle: Bundle, precision: str, graph: Graph, encoder: TextEncoder, threads: int) -> None:
        self.bundle = bundle
        self.precision = precision
        self.graph = graph
        self.encoder = encoder
        self.threads = threads

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        precision: str | None = None,
        threads: int | None = None,
        verify: bool = True,
    ) -> "Predictor":
        """The predictor of a bundle directory; of the bundled English model where `path` is None.

        `precision` names one of the bundle's graphs (its first by default), `threads` how many batches run at once
        (the process's usable CPUs by default); `verify=False` skips comparing every file with its hash.
        Raises BundleNotFoundError or BundleCorruptError.
        """
        bundle = Bundle.open(Path(path) if path is not None else DEFAULT_BUNDLE, verify=verify)
        precision, entry = bundle.graph(precision)
        manifest = bundle.manifest
        encoder = TextEncoder.from_file(bundle.file("tokenizer.json"), manifest.mask_token, manifest.max_length)
        return cls(bundle, precision, OnnxGraph(bundle.file(entry.file)), encoder, threads or usable_cpus())

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

    def __call__(self, text: str, *, top_k: int = 5) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """What `transformers.pipeline("fill-mask")` returns for one text.

        `{score, token, token_str, sequence}` for each of the `top_k` candidates; one such list a mask where the text
        has several. Raises TextError as `fill`.
        """
        encoded = self.encode(text)
        (fill,) = self.fill_encoded([encoded], top_k=top_k)
        several = len(fill.masks) > 1
        lists = [[self._as_dict(encoded, mask, p, several) for p in mask.predictions] for mask in fill.masks]
        return lists if several else lists[0]

    def fill(self, texts: Sequence[str], *, top_k: int = 5) -> list[Fill]:
        """For each text, what the model says at its masks; several masks are filled independently.

        Raises TextError, naming the text, for one without a mask or that cannot be encoded, and ValueError for a
        `top_k` outside 0 to the vocabulary's size.
        """
        return self.fill_encoded(self._encode_all(texts), top_k=top_k)

    def score(self, texts: Sequence[str]) -> list[SentenceScore]:
        """For each text, its pseudo-log-likelihood: every token is masked in turn (Salazar et al. 2020).

        Raises TextError, naming the text, for one with a mask or that cannot be encoded.
        """
        return self.score_encoded(self._encode_all(texts))

    def encode(self, text: str) -> EncodedText:
        """The text as the model reads it. Raises TextError where it cannot be read."""
        return self.encoder.encode(text)

    def target_id(self, encoded: EncodedText, mask: int, word: str) -> int | None:
        """The id that `word` has in place of the text's mask number `mask`; None where it is no single token."""
        return self.encoder.target_id(encoded, mask, word)

    def fill_encoded(
        self, encoded: Sequence[EncodedText], *, top_k: int = 5, targets: Sequence[Targets] | None = None
    ) -> list[Fill]:
        """As `fill`, of encoded texts; `targets` holds for each text one known id, or None, a mask.

        Raises ValueError, naming the text, for targets of another number or outside the vocabulary.
        """
        self._check_top_k(top_k)
        targets = targets if targets is not None else [[None] * len(text.mask_positions) for text in encoded]
        pairs = zip(encoded, targets, strict=True)
        queries = [self._fill_query(index, text, ids) for index, (text, ids) in enumerate(pairs)]
        outputs = ["top_ids", "top_logprobs", "entropy", "target_logprobs", "target_ranks"]
        answers = self._answer(queries, outputs, top_k)
        return [self._fill(*parts) for parts in zip(encoded, targets, answers, strict=True)]

    def score_encoded(self, encoded: Sequence[EncodedText]) -> list[SentenceScore]:
        """As `score`, of encoded texts."""
        queries = [query for index, text in enumerate(encoded) for query in self._score_queries(index, text)]
        logprobs = iter(self._answer(queries, ["target_logprobs"], top_k=0))
        return [self._sentence_score(text, logprobs) for text in encoded]

    def _encode_all(self, texts: Sequence[str]) -> list[EncodedText]:
        if isinstance(texts, str):
            raise TypeError("texts is a str; give a list of texts")
        encoded = []
        for index, text in enumerate(texts):
            try:
                encoded.append(self.encode(text))
            except TextError as error:
                raise TextError(error.status, f"text {index}: {error}") from error
        return encoded

    def _answer(self, queries: list[Query], outputs: list[str], top_k: int) -> list[Outputs]:
        mask_id = self.encoder.mask_id
        return answer(self.graph, queries, mask_id=mask_id, outputs=outputs, top_k=top_k, threads=self.threads)

    def _check_top_k(self, top_k: int) -> None:
        size = self.bundle.manifest.vocab_size
        if not 0 <= top_k <= size:
            raise ValueError(f"top_k is {top_k}; it must be from 0 to {size}, the size of the vocabulary")

    def _fill_query(self, index: int, text: EncodedText, targets: Targets) -> Query:
        if not text.mask_positions:
            message = f"text {index}: No mask_token ({self.mask_token}) found on the input {text.text[:60]!r}"
            raise TextError(TextStatus.NO_MASK, message)
        known = tuple(0 if target is None else target for target in targets)
        if len(known) != len(text.mask_positions):
            raise ValueError(f"text {index} has {len(text.mask_positions)} masks and {len(known)} targets")
        size = self.bundle.manifest.vocab_size
        if not all(0 <= target < size for target in known):
            raise ValueError(f"text {index} has the targets {known}; ids run from 0 to {size - 1}")
        return Query(text.input_ids, text.mask_positions, known)

    def _score_queries(self, index: int, text: EncodedText) -> list[Query]:
        if text.mask_positions:
            message = (
                f"text {index}: {text.text[:60]!r} holds a mask; "
                "pseudo-log-likelihood is defined for whole texts: fill it instead"
            )
            raise TextError(TextStatus.UNEXPECTED_MASK, message)
        content = range(len(self.encoder.prefix), len(text.input_ids) - len(self.encoder.suffix))
        return [Query(text.input_ids, (at,), (int(text.input_ids[at]),)) for at in content]

    def _fill(self, text: EncodedText, targets: Targets, outputs: Outputs) -> Fill:
        masks = tuple(
            MaskFill(
                position=position,
                predictions=self._predictions(outputs["top_ids"][mask], outputs["top_logprobs"][mask]),
                entropy=float(outputs["entropy"][mask]),
                target=_target_score(target, outputs, mask),
            )
            for mask, (position, target) in enumerate(zip(text.mask_positions, targets, strict=True))
        )
        return Fill(text.text, masks, self.encoder.token_count(text), text.truncated)

    def _predictions(self, ids: Any, logprobs: Any) -> tuple[TokenPrediction, ...]:
        return tuple(
            TokenPrediction(token, self.encoder.token_str(token), math.exp(logprob))
            for token, logprob in zip(ids.tolist(), logprobs.tolist(), strict=True)
        )

    def _sentence_score(self, text: EncodedText, answers: Iterator[Outputs]) -> SentenceScore:
        count = self.encoder.token_count(text)
        logprobs = [float(outputs["target_logprobs"][0, 0]) for outputs in islice(answers, count)]
        start = len(self.encoder.prefix)
        ids = text.input_ids[start : start + count].tolist()
        pll = math.fsum(logprobs)
        return SentenceScore(
            text=text.text,
            pll=pll,
            token_count=count,
            pseudo_perplexity=perplexity(pll, count),
            tokens=tuple(
                TokenScore(token, self.encoder.token_str(token), logprob)
                for token, logprob in zip(ids, logprobs, strict=True)
            ),
        )

    def _as_dict(
        self, encoded: EncodedText, mask: MaskFill, prediction: TokenPrediction, several: bool
    ) -> dict[str, Any]:
        ids = encoded.input_ids.copy()
        ids[mask.position] = prediction.token
        # transformers keeps [CLS] and [SEP] in the sequence where a text has several masks
        sequence = self.encoder.tokenizer.decode(ids.tolist(), skip_special_tokens=not several)
        return {
            "score": prediction.score,
            "token": prediction.token,
            "token_str": prediction.token_str,
            "sequence": sequence,
        }


def _target_score(target: int | None, outputs: Outputs, mask: int) -> TargetScore | None:
    if target is None:
        return None
    logprob = float(np.asarray(outputs["target_logprobs"])[mask, 0])
    return TargetScore(target, logprob, int(np.asarray(outputs["target_ranks"])[mask, 0]))
