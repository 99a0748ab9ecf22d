"""Texts -> masked tokens, in batches of texts of one length."""

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.errors import TextError
from maskedge.inference.encoding import TextEncoder
from maskedge_export.errors import CalibrationTextError
from maskedge_export.evaluation.texts import SEED, VERIFICATION_TEXTS

__all__ = ["MaskedBatch", "calibration_record", "masked_batches", "verification_batches"]

WHOLE_TEXT_EVERY = 16
"""One text in so many is taken whole, the others by a sentence: so long inputs are seen too."""
WHOLE_TEXT_TOKENS = 8_192
"""Of whole texts in all; those that follow are taken by a sentence. On long documents, whole texts would take most of
an export's time."""
SENTENCE_TOKENS = 64
"""Most of a sentence, which is cut there: texts without sentence ends are no longer than others'."""
TOKENS_PER_BATCH = 256
"""So few that what a large model makes of a batch takes little memory."""
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
"""Where a text is cut into sentences."""


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """Texts of one length, each with one masked token."""

    input_ids: Int64Array
    """[batch, length], masks in place."""
    mask_positions: Int64Array
    """[batch, 1]"""
    targets: Int64Array
    """[batch, 1]: the ids that were masked."""
    texts: Int64Array | None = None
    """[batch]: the number of the text that each row is of; None where nothing is known of it."""

    @property
    def inputs(self) -> dict[str, Int64Array]:
        """What a graph that ends in logits takes, by its inputs' names."""
        return {"input_ids": self.input_ids, "mask_positions": self.mask_positions}


def verification_batches(texts: Sequence[str], encoder: TextEncoder) -> list[MaskedBatch]:
    """About VERIFICATION_TEXTS masked tokens, several of each text where there are fewer texts."""
    return masked_batches(texts, encoder, copies=-(-VERIFICATION_TEXTS // len(texts)))


def masked_batches(texts: Sequence[str], encoder: TextEncoder, copies: int = 1) -> list[MaskedBatch]:
    """One sentence of each text with one of its tokens masked, drawn with a fixed seed, in batches of one length.

    Every WHOLE_TEXT_EVERY-th text is taken whole, cut to the model's length, until these have WHOLE_TEXT_TOKENS
    together; a sentence is cut to SENTENCE_TOKENS. A token that stands for what the vocabulary lacks is never masked:
    no model is trained to predict it. Raises CalibrationTextError where not one text can be used.

    Args:
        texts: Plain texts.
        encoder: The model's tokenizer.
        copies: How often a sentence is taken, each time with another token masked, as far as it has so many.
    """
    rng, is_unknown = random.Random(SEED), cache(encoder.is_unknown)
    rows: defaultdict[int, list[tuple[list[int], int, int, int]]] = defaultdict(list)
    whole_tokens = 0
    for index, text in enumerate(texts):
        whole = index % WHOLE_TEXT_EVERY == 0 and whole_tokens < WHOLE_TEXT_TOKENS
        ids = _token_ids(text, encoder) if whole else _sentence_ids(rng.choice(SENTENCE_END.split(text)), encoder)
        known = [position for position, token in enumerate(ids) if not is_unknown(token)]
        drawn = rng.sample(known, min(copies, len(known)))
        whole_tokens += whole * len(ids) * len(drawn)
        for masked in drawn:
            row = [*encoder.prefix, *ids, *encoder.suffix]
            position = len(encoder.prefix) + masked
            row[position] = encoder.mask_id
            rows[len(row)].append((row, position, ids[masked], index))
    if not rows:
        raise CalibrationTextError(
            f"none of {len(texts)} texts can be used: each is empty, holds {encoder.mask_token} or nothing that the "
            "vocabulary knows; give plain text"
        )
    return [batch for length in sorted(rows) for batch in _batches(rows[length], length)]


def calibration_record(texts: Sequence[str], batches: list[MaskedBatch]) -> dict[str, Any]:
    """What a graph was calibrated on, as the manifest says it: how much, the seed of the draw, and the texts' hash."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    rows, tokens = (sum(len(batch.targets) for batch in batches), sum(batch.input_ids.size for batch in batches))
    return {"texts": len(texts), "rows": rows, "tokens": tokens, "seed": SEED, "sha256": digest.hexdigest()}


def _token_ids(text: str, encoder: TextEncoder) -> list[int]:
    """The text's tokens, as many as fit; none of a text that holds a mask or that the tokenizer cannot write."""
    try:
        # not encoder.encode, which refuses a text that is too long instead of cutting it
        ids = encoder.encoding(text[: 8 * encoder.max_length]).ids
    except TextError:
        return []
    return [] if encoder.mask_id in ids else list(ids[: encoder.room])


def _sentence_ids(sentence: str, encoder: TextEncoder) -> list[int]:
    return _token_ids(sentence, encoder)[:SENTENCE_TOKENS]


def _batches(rows: list[tuple[list[int], int, int, int]], length: int) -> Iterator[MaskedBatch]:
    size = max(1, TOKENS_PER_BATCH // length)
    for start in range(0, len(rows), size):
        ids, positions, targets, texts = (np.array(column) for column in zip(*rows[start : start + size], strict=True))
        yield MaskedBatch(ids, positions[:, np.newaxis], targets[:, np.newaxis], texts)
