"""Token ids -> text, as transformers decodes them."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Tokenizer

from maskedge.bundle.format import Bundle
from maskedge.errors import BundleCorruptError

__all__ = ["TextDecoder"]

TOKENIZER_CONFIG = "tokenizer_config.json"

CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
"""What transformers replaces, in this order, where tokenizer_config.json asks for clean_up_tokenization_spaces."""


class Pieces(dict[int, str]):
    """What tokens add to a text behind other tokens; a KeyError where an id is no token."""

    def __init__(self, tokenizer: Tokenizer, before: list[int]) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._before = before
        self._length = len(self._decoded(before))

    def __missing__(self, token: int) -> str:
        if self._tokenizer.id_to_token(token) is None:
            raise KeyError(token)
        self[token] = piece = self._decoded([*self._before, token])[self._length :]
        return piece

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text


class TextDecoder:
    """A tokenizer with what its tokenizer_config.json says of decoding. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, config: dict[str, Any]) -> None:
        self.tokenizer = tokenizer
        pad = config.get("pad_token") or ""  # its content, or an object that holds it
        self.pad_id: int | None = tokenizer.token_to_id(pad["content"] if isinstance(pad, dict) else pad)
        self._token_strs: dict[int, str] = {}
        # A WordPiece decoder writes a token as it does behind any other, unless it is the first one.
        self._in_pieces = type(tokenizer.decoder).__name__ == "WordPiece" and tokenizer.id_to_token(0) is not None
        self._first, self._behind = Pieces(tokenizer, []), Pieces(tokenizer, [0])
        self._special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
        # transformers refuses to clean up after a BPE tokenizer, whose spaces are its own
        self.cleans = bool(config.get("clean_up_tokenization_spaces")) and type(tokenizer.model).__name__ != "BPE"

    @classmethod
    def of_bundle(cls, bundle: Bundle, tokenizer: Tokenizer) -> "TextDecoder":
        """The decoder of a bundle's model, which may have no tokenizer_config.json.

        Raises BundleCorruptError for one that cannot be read.
        """
        if not (bundle.path / TOKENIZER_CONFIG).exists():
            return cls(tokenizer, {})
        path = bundle.file(TOKENIZER_CONFIG)
        try:
            return cls(tokenizer, json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BundleCorruptError(
                f"{path} cannot be read ({error!r}); export or download the bundle again"
            ) from error

    def text(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        """The ids' text."""
        return self._cleaned(self._decoded(ids, skip_special_tokens))

    def _cleaned(self, text: str) -> str:
        if self.cleans:
            for spaced, clean in CLEAN_UP:
                text = text.replace(spaced, clean)
        return text

    def _decoded(self, ids: list[int], skip_special_tokens: bool) -> str:
        """As the tokenizer decodes them: from pieces, where that can be, in a tenth of the time."""
        shown = [token for token in ids if token not in self._special] if skip_special_tokens else ids
        if self._in_pieces and shown:
            try:
                return self._first[shown[0]] + "".join([self._behind[token] for token in shown[1:]])
            except KeyError:
                pass
        text: str = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        return text

    def token_str(self, token: int) -> str:
        """One token decoded alone, as `text` does."""
        known = self._token_strs.get(token)
        if known is None:  # as in `TextEncoder.token_str`, which cleans nothing up
            known = self._token_strs[token] = self.text([token])
        return known

    def sequence(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        """The text of a filled sentence, without padding."""
        kept = [token for token in ids if token != self.pad_id] if self.pad_id in ids else ids
        return self.text(kept, skip_special_tokens=skip_special_tokens)

    def sequences(
        self, before: list[int], after: list[int], *, skip_special_tokens: bool
    ) -> Callable[[Sequence[int]], str]:
        """Ids -> `sequence` of what is before them, of them and of what is after, which is decoded once for all."""

        def whole(ids: Sequence[int]) -> str:
            return self.sequence([*before, *ids, *after], skip_special_tokens=skip_special_tokens)

        hidden, behind = self._special if skip_special_tokens else (), self._behind

        def pieces(ids: Sequence[int]) -> str:
            return "".join([behind[token] for token in ids if token != self.pad_id and token not in hidden])

        shown = [token for token in before if token != self.pad_id and token not in hidden]
        if not self._in_pieces or not shown:
            return whole
        try:
            start, end = self._first[shown[0]] + pieces(shown[1:]), pieces(after)
        except KeyError:
            return whole

        def between(ids: Sequence[int]) -> str:
            try:
                return self._cleaned(start + pieces(ids) + end)
            except KeyError:
                return whole(ids)

        return between
