"""Texts to calibrate on, and texts held out."""

import random
from collections.abc import Sequence
from pathlib import Path

from maskedge_export.corpora.text_files import find_text_files, read_rows
from maskedge_export.errors import CalibrationTextError

__all__ = ["read_texts", "split_texts", "too_few"]

SEED = 20

CALIBRATION_TEXTS = 1024

VERIFICATION_TEXTS = 3000
"""As many masks: their perplexity's change has an interval of less than 0.5 % to either side."""

FEWEST_TEXTS = 64


def read_texts(paths: Sequence[Path], column: str = "text") -> list[str]:
    """The different texts of text files (one a line), JSONL files (the field `text`) and Parquet files (the column).

    `paths` may be globs; `column` is the field's or column's name. Raises TextFileError, naming the file, for one that
    is missing, not UTF-8, or without such a field, and CalibrationTextError where no text is left.
    """
    rows = (row for file in find_text_files(paths) for row in read_rows(file, column))
    texts = list(dict.fromkeys(text for _, text in rows if text.strip()))
    if not texts:
        raise CalibrationTextError(f"there is no text in {', '.join(map(str, paths)) or 'no file'}; give some")
    return texts


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
