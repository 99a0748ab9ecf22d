"""Token ids -> text, as transformers decodes them."""

import json
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


class TextDecoder:
    """A tokenizer with what its tokenizer_config.json says of decoding. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, config: dict[str, Any]) -> None:
        self.tokenizer = tokenizer
        pad = config.get("pad_token") or ""  # its content, or an object that holds it
        self.pad_id: int | None = tokenizer.token_to_id(pad["content"] if isinstance(pad, dict) else pad)
        self._token_strs: dict[int, str] = {}
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
        text: str = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        if self.cleans:
            for spaced, clean in CLEAN_UP:
                text = text.replace(spaced, clean)
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
