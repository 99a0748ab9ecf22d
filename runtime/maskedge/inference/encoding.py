"""Text -> token ids: mask spellings, the window around the masks of a long text, target words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer, pre_tokenizers

from maskedge.arrays import Int64Array
from maskedge.bundle.format import Bundle
from maskedge.errors import BundleCorruptError, TextError
from maskedge.results import TextStatus

__all__ = ["MASK_SPELLINGS", "EncodedText", "TextEncoder", "tokenize"]

MASK_SPELLINGS = ("[MASK]", "<mask>")

CHARS_PER_TOKEN = 32
"""More characters than the tokens of any real text have on average (English: 5). What is further from a mask than the
model's length in such tokens is cut before tokenizing."""

WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
"""`▁`: a word's beginning in SentencePiece's vocabularies, and a space where tokens are shown."""

PART_OF_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are no whole character decode to."""

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
"""Spells a text as byte-level vocabularies do: `Ġ` for a space."""

MAX_UNMASKED_TOKENS = 32_768
"""Longest text without a mask, tokens; scoring it reads each of its tokens' windows, which takes minutes to an hour."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as the model reads it."""

    text: str
    """The text as it was given."""
    input_ids: Int64Array
    """[length], special tokens included; longer than the model only where there is no mask."""
    mask_positions: tuple[int, ...]
    """Indices into input_ids, ascending."""
    truncated: bool
    """Whether the text was cut around its masks."""
    source: str
    """The text that was tokenized: with the model's own mask token, and cut if it was very long."""
    window_start: int
    """The index, among the source's tokens, of the first one that was kept."""
    source_length: int
    """How many tokens the source has, special tokens left out."""


class TextEncoder:
    """A tokenizer with its model's mask token and length. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, mask_token: str, max_length: int) -> None:
        mask_id = tokenizer.token_to_id(mask_token)
        if mask_id is None:
            raise ValueError(f"the tokenizer has no mask token {mask_token!r}")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.mask_token = mask_token
        self.mask_id: int = mask_id
        self.max_length = max_length
        self._token_strs: dict[int, str] = {}
        self.prefix, self.suffix = _special_tokens_around(tokenizer, mask_id)

    @classmethod
    def from_file(cls, path: Path, mask_token: str, max_length: int) -> "TextEncoder":
        """The encoder of a tokenizer.json."""
        return cls(Tokenizer.from_file(str(path)), mask_token, max_length)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "TextEncoder":
        """The encoder of a bundle's model. Raises BundleCorruptError for a tokenizer that cannot be read."""
        manifest, path = bundle.manifest, bundle.file("tokenizer.json")
        try:
            return cls.from_file(path, manifest.mask_token, manifest.max_length)
        except BaseException as error:
            if not (isinstance(error, Exception) or _is_panic(error)):
                raise
            raise BundleCorruptError(f"{path} cannot be read ({error}); export or download the bundle again") from error

    @property
    def room(self) -> int:
        """Tokens of text that fit, special tokens left out."""
        return self.max_length - len(self.prefix) - len(self.suffix)

    def encode(self, text: str) -> EncodedText:
        """The text as the model reads it; where it is too long, the window around its masks. A text without a mask
        stays whole: it is scored by windows.

        Both spellings of the mask stand for the model's own. Raises TextError for a text that is empty or that the
        tokenizer cannot read (as `tokenize`), that has no mask and more than `MAX_UNMASKED_TOKENS`, or whose masks are
        too far apart for one window.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, not {type(text).__name__}: {text!r:.60}")
        source, cut = self._cut(self._own_mask(text))
        ids = self.encoding(source).ids
        if not ids:
            raise TextError(TextStatus.EMPTY_TEXT, f"the text {text[:40]!r} holds no token to score")
        # Only the window goes to the model. The source is kept whole: a target is tokenized in its midst.
        start, stop = self._window(ids)
        kept = ids[start:stop]
        input_ids = np.array([*self.prefix, *kept, *self.suffix], np.int64)
        return EncodedText(
            text=text,
            input_ids=input_ids,
            mask_positions=tuple(np.flatnonzero(input_ids == self.mask_id).tolist()),
            truncated=cut or len(kept) < len(ids),
            source=source,
            window_start=start,
            source_length=len(ids),
        )

    def encode_all(self, texts: Sequence[str], first: int = 0) -> list[EncodedText]:
        """Each text as `encode` gives it. An error names the text by its index; that of the first is `first`."""
        return list(self.encode_each(texts, first))

    def encode_each(self, texts: Sequence[str], first: int = 0) -> Iterator[EncodedText]:
        """As `encode_all`, one after another."""
        if isinstance(texts, str):
            raise TypeError("texts is a str; give a list of texts")
        for index, text in enumerate(texts, first):
            try:
                yield self.encode(text)
            except TextError as error:
                raise TextError(error.status, f"text {index}: {error}") from error

    def target_id(self, encoded: EncodedText, mask: int, word: str) -> int | None:
        """The vocabulary id that `word` has in place of the text's mask number `mask`, counted from 0; None where it is
        no single token. `target_pieces` says how it is found."""
        pieces = self.target_pieces(encoded, mask, word)
        return pieces[0] if len(pieces) == 1 else None

    def target_pieces(self, encoded: EncodedText, mask: int, word: str) -> tuple[int, ...]:
        """The ids that `word` has in place of the text's mask number `mask`: the one rule for every target.

        The word is tokenized where it stands, so that letter case and a leading space come out as the model saw them in
        training. Where that is no single token it may be a vocabulary entry, spelled as there (`##ing`, `ĠParis`,
        `▁Paris`) or as it is decoded (` Paris`, `ing`): so what a prediction is called can be asked about. A leading
        `▁` that no entry has stands for a space, as in the tables of `mlm`. Empty where the word leaves no token there
        or one that the vocabulary lacks, or changes the tokens beside it. Raises TextError for a lone surrogate.
        """
        entry = self.entry(word)
        if entry is None and word.startswith(WORD_START):
            return self.target_pieces(encoded, mask, f" {word.removeprefix(WORD_START)}")
        pieces = self.pieces_there(encoded, mask, word)
        return pieces if len(pieces) == 1 or entry is None else (entry,)

    def entry(self, word: str) -> int | None:
        """The id of the vocabulary entry that is decoded or spelled like this; None where there is none.

        A byte-level vocabulary's entries for parts of characters are spelled like other characters, and meant by none.
        Raises TextError for a lone surrogate.
        """
        exact = self.token_id(word)
        if not word:
            return None
        ((in_bytes, _),) = BYTE_LEVEL.pre_tokenize_str(word)
        for token in (self.token_id(in_bytes), exact, self.token_id(WORD_START + word)):
            if token is not None and self.token_str(token) == word:
                return token
        return None if exact is None or PART_OF_CHARACTER in self.token_str(exact) else exact

    def surface(self, word: str) -> str:
        """The word as a text has it: `ĠParis`, `▁Paris` and ` Paris` are Paris. Raises as `entry`."""
        entry = self.entry(word)
        return (word.removeprefix(WORD_START) if entry is None else self.token_str(entry)).strip()

    def pieces_there(self, encoded: EncodedText, mask: int, word: str) -> tuple[int, ...]:
        """The ids that the tokenizer writes for `word` in place of the mask: those of a text that holds it there.

        Empty as `target_pieces`, but that a vocabulary entry is no word.
        """
        if not word or len(word) > CHARS_PER_TOKEN * self.max_length:
            return ()
        parts = encoded.source.split(self.mask_token)
        before, after = self.mask_token.join(parts[: mask + 1]), self.mask_token.join(parts[mask + 1 :])
        if word.startswith(" "):
            before = before.removesuffix(" ")  # one of the two
        try:
            ids = self.encoding(before + word + after).ids
        except TextError as error:
            if error.status is TextStatus.INVALID_UNICODE:
                raise
            return ()
        return self._between(ids, encoded, mask)

    def _between(self, ids: list[int], encoded: EncodedText, mask: int) -> tuple[int, ...]:
        """What of the source's `ids`, with the mask replaced, took its place."""
        count = len(ids) - encoded.source_length + 1  # of the word's pieces, where nothing else changed
        content = encoded.input_ids[len(self.prefix) : len(encoded.input_ids) - len(self.suffix)].tolist()
        at = encoded.mask_positions[mask] - len(self.prefix)
        start = encoded.window_start
        before, pieces, after = ids[start : start + at], ids[start + at :][:count], ids[start + at :][count:]
        same = before == content[:at] and after[: len(content) - at - 1] == content[at + 1 :]
        return tuple(pieces) if count > 0 and same and not any(map(self.is_unknown, pieces)) else ()

    def token_id(self, entry: str) -> int | None:
        """The id of a vocabulary entry, spelled as it is there; None where there is none."""
        try:
            token: int | None = self.tokenizer.token_to_id(entry)
        except UnicodeEncodeError as error:
            raise _lone_surrogate(entry) from error
        return token

    def pieces(self, text: str) -> list[int]:
        """The ids of a text read alone, special tokens left out; of a very long one, only those of its beginning.

        Raises as `tokenize`.
        """
        ids: list[int] = self.encoding(text[: CHARS_PER_TOKEN * self.max_length]).ids
        return ids

    def encoding(self, text: str) -> Encoding:
        """What the tokenizer makes of a text, special tokens left out. Raises as `tokenize`."""
        return tokenize(self.tokenizer, text)

    def offsets(self, encoded: EncodedText) -> list[tuple[int, int]]:
        """For each token of the text's source, special tokens left out, the span of characters it stands for."""
        offsets: list[tuple[int, int]] = self.encoding(encoded.source).offsets
        return offsets

    def token_count(self, encoded: EncodedText) -> int:
        """Tokens of the encoded text, special tokens left out."""
        return len(encoded.input_ids) - len(self.prefix) - len(self.suffix)

    def token_str(self, token: int) -> str:
        """One token decoded alone: keeps `##` or a leading space."""
        known = self._token_strs.get(token)
        if known is None:  # decoding takes 2 µs or more, of the 100 µs that a filled mask takes beside the model
            known = self._token_strs[token] = self.decoded([token])
        return known

    def decoded(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for, special tokens among them."""
        decoded: str = self.tokenizer.decode(list(tokens), skip_special_tokens=False)
        return decoded

    def _own_mask(self, text: str) -> str:
        for spelling in MASK_SPELLINGS:
            if spelling != self.mask_token:
                text = text.replace(spelling, self.mask_token)
        return text

    def _cut(self, text: str) -> tuple[str, bool]:
        """The text, cut to the neighbourhood of its masks if it is very long, and whether it was cut."""
        reach = CHARS_PER_TOKEN * self.max_length
        if len(text) <= reach:
            return text, False
        first, last = text.find(self.mask_token), text.rfind(self.mask_token)
        if first < 0:
            limit = CHARS_PER_TOKEN * MAX_UNMASKED_TOKENS
            if len(text) > limit:
                raise self._too_long(f"{len(text)} characters", f"{limit} characters")
            return text, False
        if last - first > reach:
            raise self._mask_lost()
        start, stop = max(0, first - reach), min(len(text), last + len(self.mask_token) + reach)
        return text[start:stop], stop - start < len(text)

    def _window(self, ids: list[int]) -> tuple[int, int]:
        """The beginning and end of the tokens that are kept: `room` of them, with the masks in the middle.

        A text without a mask is kept whole.
        """
        if len(ids) <= self.room:
            return 0, len(ids)
        masks = [index for index, token in enumerate(ids) if token == self.mask_id]
        if not masks:
            if len(ids) > MAX_UNMASKED_TOKENS:
                raise self._too_long(f"{len(ids)} tokens", f"{MAX_UNMASKED_TOKENS} tokens")
            return 0, len(ids)
        if masks[-1] - masks[0] >= self.room:
            raise self._mask_lost()
        first, last = masks[0], masks[-1]
        centred = (first + last) // 2 - self.room // 2
        # Moved to hold the last mask, where rounding left it out, and no further than the text's ends.
        start = max(0, min(max(centred, last - self.room + 1), len(ids) - self.room))
        return start, start + self.room

    def is_unknown(self, token: int) -> bool:
        """Whether a token stands for what the vocabulary lacks, or is a special one."""
        # a Unigram model does not name its unknown token, but every tokenizer.json lists it among the special ones
        added = self.tokenizer.get_added_tokens_decoder().get(token)
        named = getattr(self.tokenizer.model, "unk_token", None)
        return (added is not None and added.special) or self.tokenizer.id_to_token(token) == named

    def _too_long(self, size: str, limit: str) -> TextError:
        return TextError(
            TextStatus.TOO_LONG,
            f"the text has {size} and no mask to cut around; no more than {limit} are scored: split it",
        )

    def _mask_lost(self) -> TextError:
        return TextError(
            TextStatus.MASK_LOST,
            f"the text's masks are too far apart: the model reads {self.max_length} tokens at once; mask fewer",
        )


def _special_tokens_around(tokenizer: Tokenizer, mask_id: int) -> tuple[list[int], list[int]]:
    """The special tokens before a text and after it.

    What stands around one token stands around every text: [CLS] and [SEP], say. That token is a mask that no text was
    read for, since there is no text that every vocabulary spells.
    """
    mask = Encoding()
    mask.pad(1, pad_id=mask_id)  # the one way to an encoding of a given token
    framed: list[int] = tokenizer.post_process(mask).ids
    at = framed.index(mask_id)
    return framed[:at], framed[at + 1 :]


def tokenize(tokenizer: Tokenizer, text: str) -> Encoding:
    """What a tokenizer makes of a text, special tokens left out: the one place that asks it.

    Raises TextError for a text that is not valid Unicode, or that the tokenizer cannot write: one without an unknown
    token stops at a character that its vocabulary lacks.
    """
    try:
        return tokenizer.encode(text, add_special_tokens=False)
    except TypeError as error:  # what tokenizers raises for a lone surrogate
        raise _lone_surrogate(text) from error
    except BaseException as error:
        if not (isinstance(error, Exception) or _is_panic(error)):
            raise
        message = f"the tokenizer cannot write the text {text[:40]!r}: {error}"
        raise TextError(TextStatus.UNTOKENIZABLE, message) from error


def _is_panic(error: BaseException) -> bool:
    """Whether the tokenizers library broke: what it raises then is no Exception."""
    return type(error).__module__ == "pyo3_runtime"


def _lone_surrogate(text: str) -> TextError:
    """Names the byte where the surrogate stands for one, as in an argument of the command line that is not UTF-8."""
    stray = next((ord(char) for char in text if "\ud800" <= char <= "\udfff"), 0)
    what = f"the byte 0x{stray - 0xDC00:x}, not in UTF-8" if 0xDC80 <= stray <= 0xDCFF else "a lone surrogate"
    return TextError(TextStatus.INVALID_UNICODE, f"the text {text[:40]!a} is not valid Unicode: it holds {what}")
