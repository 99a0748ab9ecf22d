"""Token ids -> text, as transformers decodes them."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

__all__ = ["TextDecoder"]

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
        # transformers refuses to clean up after a BPE tokenizer, whose spaces are its own
        self.cleans = bool(config.get("clean_up_tokenization_spaces")) and type(tokenizer.model).__name__ != "BPE"

    @classmethod
    def from_config(cls, tokenizer: Tokenizer, config: Path | None) -> "TextDecoder":
        """The decoder of a tokenizer_config.json, or of a bundle without one."""
        return cls(tokenizer, json.loads(config.read_text(encoding="utf-8")) if config is not None else {})

    def text(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        """The ids' text."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        if self.cleans:
            for spaced, clean in CLEAN_UP:
                text = text.replace(spaced, clean)
        return text

    def sequence(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        """The text of a filled sentence, without padding."""
        return self.text([token for token in ids if token != self.pad_id], skip_special_tokens=skip_special_tokens)
