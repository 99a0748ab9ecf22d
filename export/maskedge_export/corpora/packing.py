"""The corpus as one long memory-mapped row of token ids, made once and reused by every run that asks for the same."""

import hashlib
import heapq
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from maskedge.arrays import BoolArray, Int64Array
from maskedge.errors import TextError
from maskedge.inference.encoding import TextEncoder, tokenize
from maskedge.inference.words import divide
from maskedge_export.corpora.documents import Document, corpus_identity, documents, hash_share
from maskedge_export.corpora.tokenizer import existing_tokenizer, train_tokenizer
from maskedge_export.encoders.checkpoint import text_encoder
from maskedge_export.errors import CorpusError, StagingError
from maskedge_export.progress import Progress
from maskedge_export.recipe import Recipe
from maskedge_export.staging import staging

__all__ = ["PackedCorpus", "prepare_corpus", "special_tokens_around", "training_documents"]

logger = logging.getLogger(__name__)

FORMAT = 3
"""Raised when what is packed changes."""
HELD_OUT_TEXTS = 2000
"""Texts kept to measure perplexity on: about that many masks, 2 % standard error."""
CHARACTERS_PER_BATCH = 10_000_000
"""Of the texts that are in memory at once, however many documents they are; a document is never divided."""
TOKENS_COUNTED_AT_ONCE = 1 << 20
TOKENS_FILE, WORD_STARTS_FILE = "tokens.bin", "word_starts.bin"
HELD_OUT_FILE, META_FILE = "held_out.parquet", "meta.json"


@dataclass(frozen=True, slots=True)
class PackedCorpus:
    """What a model is trained on."""

    tokens: npt.NDArray[np.unsignedinteger[Any]]
    """[tokens], memory-mapped: every text with the special tokens that follow it, such as [SEP]."""
    held_out: list[str]
    """Texts of documents that are not among them, at most HELD_OUT_TEXTS."""
    tokenizer: Any
    """A transformers fast tokenizer."""
    fingerprint: str
    """Of the text, the tokenizer, what is held out, and whether word starts are noted."""
    word_starts: BoolArray | None = None
    """[tokens], memory-mapped: whether a word begins with the token, by the runtime's rule, so that training masks the
    words that scoring means; special tokens are words of their own. None where the recipe masks token by token."""

    def token_counts(self, vocab_size: int) -> Int64Array:
        """How often each token occurs [vocab_size]."""
        counts = np.zeros(vocab_size, np.int64)
        for start in range(0, len(self.tokens), TOKENS_COUNTED_AT_ONCE):  # bincount makes 8 bytes of each token's 2
            counts += np.bincount(self.tokens[start : start + TOKENS_COUNTED_AT_ONCE], minlength=vocab_size)
        return counts

    @property
    def text_encoder(self) -> TextEncoder:
        """What made the tokens of the texts."""
        return text_encoder(self.tokenizer)


def prepare_corpus(recipe: Recipe, cache: Path, progress: Progress = lambda step: None) -> PackedCorpus:
    """The recipe's tokenizer and packed corpus, from `cache` where they are there already.

    Args:
        recipe: What says which text and tokenizer; of `model` only the length counts, of `masking` whether words are
            masked as a whole.
        cache: A directory, made where there is none; runs may share it.
        progress: Called with each step's name.

    Raises CorpusError for a corpus that is empty, cannot be read, or is too small for the vocabulary, and StagingError
    for a cache that cannot be written.
    """
    identity = corpus_identity(recipe.corpus)
    tokenizer = _tokenizer(recipe, identity, cache, progress)
    noted = ["word starts"] if recipe.masking.whole_word else []
    fingerprint = _fingerprint(identity, tokenizer.backend_tokenizer.to_str(), *noted)
    directory = cache / f"tokens-{fingerprint}"
    if not directory.is_dir():
        progress("Packing the corpus")
        corpus = _split(recipe, held_out=None)
        _fill(directory, lambda partial: _pack(corpus, tokenizer, recipe, partial))
    return _open(directory, tokenizer, fingerprint)


def _fill(directory: Path, write: Callable[[Path], object]) -> None:
    """Make a directory of the cache, or leave the one that another run has made meanwhile."""
    try:
        with staging(directory, overwrite=False) as partial:
            write(partial)
    except StagingError:
        if not directory.is_dir():
            raise


def special_tokens_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that stand before a text and after it; what separates texts is never nothing if it can be."""
    encoder = text_encoder(tokenizer)
    separator = [] if tokenizer.sep_token_id is None else [tokenizer.sep_token_id]
    return encoder.prefix, encoder.suffix or separator


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *parts], sort_keys=True).encode()).hexdigest()[:16]


def _tokenizer(recipe: Recipe, identity: dict[str, Any], cache: Path, progress: Progress) -> Any:
    options, max_length = recipe.tokenizer, recipe.model.max_length
    if options.existing:
        return existing_tokenizer(options.existing, max_length)
    directory = cache / f"tokenizer-{_fingerprint(identity, asdict(options))}"
    if not directory.is_dir():
        progress("Training the tokenizer")
        _fill(directory, lambda partial: _train_tokenizer(recipe).save_pretrained(partial))
    return existing_tokenizer(str(directory), max_length)


def _train_tokenizer(recipe: Recipe) -> Any:
    return train_tokenizer(lambda: training_documents(recipe), recipe.tokenizer, recipe.model.max_length)


def training_documents(recipe: Recipe) -> Iterator[Document]:
    """The recipe's documents but for those held out. Raises CorpusError."""
    return (document for document, _ in _split(recipe, held_out=False))


def _split(recipe: Recipe, held_out: bool | None) -> Iterator[tuple[Document, bool]]:
    """Documents, and whether each is held out; only those that are, or are not, where asked. Raises CorpusError."""
    count, share = 0, recipe.corpus.held_out
    for count, document in enumerate(documents(recipe.corpus), 1):  # noqa: B007 - what is left of it counts
        kept_out = hash_share(document, "held out") < share
        if held_out in (None, kept_out):
            yield document, kept_out
    if count == 0:
        raise CorpusError("the corpus is empty: its files hold no text")
    if count == 1 and share:
        raise CorpusError(
            f"the corpus is one document, of which corpus.held_out {share:g} cannot be kept out; divide it into "
            "several (one a line of a text file, one a row or a value of `document` elsewhere)"
        )


def _pack(corpus: Iterator[tuple[Document, bool]], tokenizer: Any, recipe: Recipe, directory: Path) -> None:
    kept: list[tuple[float, str]] = []
    """The held-out texts with the smallest hash shares: a fair sample of all of them."""
    count = 0
    with _TokenWriter(directory, tokenizer, word_starts=recipe.masking.whole_word) as writer:
        for batch in _batches(corpus):
            held_out = (text for document, out in batch if out for text in document)
            kept = heapq.nsmallest(
                HELD_OUT_TEXTS, {*kept, *((hash_share((text,), "evaluation"), text) for text in held_out)}
            )
            count += writer.write([text for document, out in batch if not out for text in document])
    if not count:
        share = recipe.corpus.held_out
        raise CorpusError(f"corpus.held_out {share} leaves no document to train on; lower it, or give more text")
    _write_held_out(directory / HELD_OUT_FILE, [text for _, text in kept])
    meta = {"dtype": np.dtype(writer.dtype).name, "tokens": count}
    (directory / META_FILE).write_text(json.dumps(meta), encoding="utf-8")


def _batches(corpus: Iterable[tuple[Document, bool]]) -> Iterator[list[tuple[Document, bool]]]:
    batch: list[tuple[Document, bool]] = []
    characters = 0
    for document, held_out in corpus:
        batch.append((document, held_out))
        characters += sum(map(len, document))
        if characters >= CHARACTERS_PER_BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _TokenWriter(ExitStack):
    """Writes texts' ids, and where words begin among them if that is asked for, each into a file of its own."""

    def __init__(self, directory: Path, tokenizer: Any, *, word_starts: bool) -> None:
        super().__init__()
        self.backend: Tokenizer = tokenizer.backend_tokenizer
        self.suffix = special_tokens_around(tokenizer)[1]
        self.dtype: type[np.unsignedinteger[Any]] = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
        self.ids = self.enter_context((directory / TOKENS_FILE).open("wb"))
        self.word_starts = self.enter_context((directory / WORD_STARTS_FILE).open("wb")) if word_starts else None

    def write(self, texts: list[str]) -> int:
        """Tokens written, those that follow each text included."""
        encoded = self._encode(texts)
        ids = np.fromiter((token for _, encoding in encoded for token in (*encoding.ids, *self.suffix)), self.dtype)
        self.ids.write(ids.tobytes())
        if self.word_starts:
            for text, encoding in encoded:
                self.word_starts.write(_word_starts(text, encoding.offsets, len(self.suffix)).tobytes())
        return len(ids)

    def _encode(self, texts: list[str]) -> list[tuple[str, Encoding]]:
        """The texts that the tokenizer can write: one without an unknown token stops at what its vocabulary lacks."""
        # words are found by the offsets of tokens, which the fast call leaves out
        encode = self.backend.encode_batch if self.word_starts else self.backend.encode_batch_fast
        try:
            return list(zip(texts, encode(texts, add_special_tokens=False), strict=True))
        except Exception:  # tokenizers raises bare exceptions
            each = [(text, _encoding(text, self.backend)) for text in texts]
        kept = [(text, encoding) for text, encoding in each if encoding is not None]
        logger.warning(
            "%d of %d texts are left out: the tokenizer cannot write them", len(texts) - len(kept), len(texts)
        )
        return kept


def _word_starts(text: str, offsets: list[tuple[int, int]], suffix: int) -> BoolArray:
    """Whether a word begins with each token of a text [tokens + suffix], special ones behind it included."""
    starts = np.zeros(len(offsets) + suffix, np.bool_)
    starts[[word.tokens.start for word in divide(text, offsets)]] = True
    starts[len(offsets) :] = True
    return starts


def _encoding(text: str, tokenizer: Tokenizer) -> Encoding | None:
    try:
        return tokenize(tokenizer, text)
    except TextError:
        return None


def _write_held_out(file: Path, texts: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), file)


def _open(directory: Path, tokenizer: Any, fingerprint: str) -> PackedCorpus:
    import pyarrow.parquet as pq

    meta = json.loads((directory / META_FILE).read_text(encoding="utf-8"))
    shape = (meta["tokens"],)
    tokens = np.memmap(directory / TOKENS_FILE, dtype=meta["dtype"], mode="r", shape=shape)
    file = directory / WORD_STARTS_FILE
    word_starts = np.memmap(file, dtype=np.bool_, mode="r", shape=shape) if file.is_file() else None
    held_out = pq.read_table(directory / HELD_OUT_FILE)["text"].to_pylist()
    return PackedCorpus(tokens, [text for text in held_out if text], tokenizer, fingerprint, word_starts)
