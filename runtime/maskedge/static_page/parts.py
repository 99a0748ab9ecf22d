"""What the page carries of a bundle: its files, packed, and what the script has to know of them."""

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maskedge.bundle.format import Bundle, GraphEntry
from maskedge.bundle.golden_vectors import tolerance_of
from maskedge.errors import TextError
from maskedge.inference.decoding import TOKENIZER_CONFIG
from maskedge.inference.encoding import CHARS_PER_TOKEN, MASK_SPELLINGS, TextEncoder

__all__ = ["PROBES", "Contents", "pack"]

TOP_KS = (1, 3, 5, 10, 20, 50)
"""Numbers of guesses that the page offers."""

PROBES = (
    "She poured the hot coffee into a cup.",
    "In 1984 it cost 12,50 or 3.14, i.e. 50 % more!",
    "École française à Zürich, naïve façade; \u00bd \ufb01 \u00df",
    "don't I'm we've \u201cquoted\u201d \u2014 well\u2026",
    "東京は日本の首都です。 한국어 Привет мир שלום عالم",
    "  two  blanks\u00a0and\ta tab ",
    "http://example.com/a?b=c&d=e#f user_name@mail.com",
    "unbelievablyhyperpolysyllabicwordlike 😀",
)
"""Texts that the page reads when it opens, to see that its tokenizer gives the ids of Python's."""


@dataclass(frozen=True)
class Contents:
    """One precision of a bundle, as the page needs it."""

    bundle: Bundle
    precision: str

    @cached_property
    def entry(self) -> GraphEntry:
        """The graph."""
        return self.bundle.graph(self.precision)[1]

    @cached_property
    def encoder(self) -> TextEncoder:
        """The tokenizer, in Python."""
        return TextEncoder.of_bundle(self.bundle)

    def files(self) -> dict[str, bytes]:
        """The page's files by the names that its script asks for, apart from the program."""
        graph, *weights = [self.bundle.file(name).read_bytes() for name in self.bundle.graph_files(self.entry)]
        has_config = TOKENIZER_CONFIG in self.bundle.manifest.files
        vocabulary = range(self.bundle.manifest.vocab_size)
        return {
            "graph": graph,
            **{f"weights-{index}": content for index, content in enumerate(weights)},
            "tokenizer": self.bundle.file("tokenizer.json").read_bytes(),
            "tokenizer-config": self.bundle.file(TOKENIZER_CONFIG).read_bytes() if has_config else b"{}",
            # As Python decodes them: the page's own tokenizer need only read texts.
            "tokens": json.dumps([self.encoder.token_str(token) for token in vocabulary]).encode(),
        }

    def facts(self) -> dict[str, Any]:
        """What the script knows of the model before it opens a file."""
        manifest, encoder = self.bundle.manifest, self.encoder
        return {
            "mask_token": encoder.mask_token,
            "mask_spellings": list(dict.fromkeys([encoder.mask_token, *MASK_SPELLINGS])),
            "mask_id": encoder.mask_id,
            "max_length": encoder.max_length,
            "chars_per_token": CHARS_PER_TOKEN,
            "prefix": encoder.prefix,
            "suffix": encoder.suffix,
            "unknown": [token for token in range(manifest.vocab_size) if encoder.is_unknown(token)],
            "weights": [name.rpartition("/")[2] for name in self.bundle.graph_files(self.entry)[1:]],
            "top_k": [number for number in TOP_KS if number <= manifest.vocab_size],
            "golden": self._golden(),
            "tolerance": tolerance_of(self.precision),
            "probes": [{"text": text, "ids": ids} for text in PROBES if (ids := self._ids(text)) is not None],
        }

    def _golden(self) -> dict[str, Any] | None:
        """A golden vector that is answered soon, to see that the browser computes as the machine of the export did."""
        if not self.entry.golden:
            return None
        vector = min(self.entry.golden, key=lambda each: abs(len(each.input_ids) - 12))
        return {name: getattr(vector, name) for name in ("input_ids", "mask_positions", "top_ids", "top_logprobs")}

    def _ids(self, text: str) -> list[int] | None:
        try:
            ids: list[int] = self.encoder.encoding(text).ids
        except TextError:  # no text for this vocabulary
            return None
        return ids


def pack(content: bytes) -> bytes:
    """A file as the page unpacks it: equal contents give equal bytes."""
    return gzip.compress(content, compresslevel=9, mtime=0)
