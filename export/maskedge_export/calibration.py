"""Calibration text: files -> sentences -> masked batches, some to calibrate on, others held out to verify with."""

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.encoding import TextEncoder
from maskedge_export.errors import CalibrationTextError

__all__ = [
    "Batch",
    "Cells",
    "calibration_record",
    "masked_cells",
    "read_texts",
    "split_texts",
    "too_few",
    "verification_cells",
]

SEED = 20
CALIBRATION_TEXTS = 1024
VERIFICATION_TEXTS = 4000
"""As many masks: their perplexity's change has an interval of about 0.4 % to either side."""
FEWEST_TEXTS = 64
WHOLE_TEXT_EVERY = 16
TOKENS_PER_BATCH = 256
"""So few that what a large model makes of a batch takes little memory."""
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one length, one mask each."""

    input_ids: npt.NDArray[np.int64]
    """[batch, length], masks in place."""
    mask_positions: npt.NDArray[np.int64]
    """[batch, 1]"""
    targets: npt.NDArray[np.int64]
    """[batch, 1]: the ids that were masked."""
    texts: npt.NDArray[np.int64] | None = None
    """[batch]: the number of the text that each row is of; None where nothing is known of it."""


Cells = list[Batch]


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The different texts of text files (one a line), JSONL files (the field `text`) and Parquet files (the column).

    Raises CalibrationTextError, naming the file, for one that is missing, not UTF-8, or without such a field, and where
    no text is left.
    """
    texts = [text for path in paths for text in _read_file(path) if text.strip()]
    if not texts:
        raise CalibrationTextError(f"there is no text in {', '.join(map(str, paths)) or 'no file'}; give some")
    return list(dict.fromkeys(texts))


def _read_file(path: Path) -> list[str]:
    if path.is_dir():
        raise CalibrationTextError(f"{path} is a directory; give the files in it")
    if not path.is_file():
        raise CalibrationTextError(f"calibration file {path} does not exist")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CalibrationTextError(f"{path} is not UTF-8 (byte {error.start}); convert it with iconv") from error
    if path.suffix not in (".jsonl", ".json"):
        return content.splitlines()
    # not splitlines, which would cut a JSON string at a U+2028
    return [_text_field(line, f"{path}, line {n}") for n, line in enumerate(content.split("\n"), 1) if line.strip()]


def _text_field(line: str, place: str) -> str:
    try:
        text: str = json.loads(line)["text"]
        text.encode()  # a lone surrogate, which JSON can spell, is no text
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CalibrationTextError(f"{place}, is no JSON object with a text 'text': {error!r}") from error
    return text


def _read_parquet(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if "text" not in names:
            raise CalibrationTextError(f"{path} has no column 'text'; it has: {', '.join(names)}")
        column = pq.read_table(path, columns=["text"])["text"].cast(pa.large_string(), safe=True)
        return [text for text in column.to_pylist() if text]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CalibrationTextError(f"{path} cannot be read as Parquet with a column of text: {error}") from error


def too_few(texts: Sequence[str]) -> bool:
    """Whether the texts cannot be divided into some to calibrate on and others to verify with."""
    return len(texts) < FEWEST_TEXTS


def split_texts(texts: list[str]) -> tuple[list[str], list[str]]:
    """Texts to calibrate on and others to verify with, drawn with a fixed seed.

    Raises CalibrationTextError where there are too few.
    """
    if too_few(texts):
        raise CalibrationTextError(
            f"the calibration files hold {len(texts)} different texts; at least {FEWEST_TEXTS} are needed, "
            f"and {CALIBRATION_TEXTS + VERIFICATION_TEXTS} are used where there are as many; a model that knows no "
            "more text than this is exported with --few-texts"
        )
    texts = random.Random(SEED).sample(texts, min(len(texts), CALIBRATION_TEXTS + VERIFICATION_TEXTS))
    share = min(CALIBRATION_TEXTS, len(texts) // 2)
    return texts[:share], texts[share:]


def verification_cells(texts: Sequence[str], encoder: TextEncoder) -> Cells:
    """About VERIFICATION_TEXTS masks, several of each text where there are fewer texts."""
    return masked_cells(texts, encoder, copies=-(-VERIFICATION_TEXTS // len(texts)))


def masked_cells(texts: Sequence[str], encoder: TextEncoder, copies: int = 1) -> Cells:
    """One sentence of each text with one of its tokens masked, drawn with a fixed seed; batched by exact length.

    A text is taken `copies` times, each time with another token masked, as far as it has as many. Every sixteenth text
    is taken whole, cut to the model's length, so that long inputs are seen too. A token that stands for what the
    vocabulary lacks is never the masked one: no model is trained to predict it.
    Raises CalibrationTextError where not one text can be used.
    """
    rng, is_unknown = random.Random(SEED), cache(encoder.is_unknown)
    rows: defaultdict[int, list[tuple[list[int], int, int, int]]] = defaultdict(list)
    for index, text in enumerate(texts):
        ids = _token_ids(text if index % WHOLE_TEXT_EVERY == 0 else rng.choice(SENTENCE_END.split(text)), encoder)
        known = [position for position, token in enumerate(ids) if not is_unknown(token)]
        for masked in rng.sample(known, min(copies, len(known))):
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


def calibration_record(texts: Sequence[str], cells: Cells) -> dict[str, Any]:
    """What a graph was calibrated on, as the manifest says it: how much, drawn with which seed, and the text's hash."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    rows, tokens = (sum(len(batch.targets) for batch in cells), sum(batch.input_ids.size for batch in cells))
    return {"texts": len(texts), "rows": rows, "tokens": tokens, "seed": SEED, "sha256": digest.hexdigest()}


def _token_ids(text: str, encoder: TextEncoder) -> list[int]:
    """The text's tokens, as many as fit; none of a text that holds a mask or is not valid Unicode."""
    try:
        # not encoder.encode, which refuses a text that is too long instead of cutting it
        ids = encoder.tokenizer.encode(text[: 8 * encoder.max_length], add_special_tokens=False).ids
    except TypeError:  # what tokenizers raises for a lone surrogate
        return []
    return [] if encoder.mask_id in ids else list(ids[: encoder.room])


def _batches(rows: list[tuple[list[int], int, int, int]], length: int) -> Iterator[Batch]:
    size = max(1, TOKENS_PER_BATCH // length)
    for start in range(0, len(rows), size):
        ids, positions, targets, texts = (np.array(column) for column in zip(*rows[start : start + size], strict=True))
        yield Batch(ids, positions[:, np.newaxis], targets[:, np.newaxis], texts)
