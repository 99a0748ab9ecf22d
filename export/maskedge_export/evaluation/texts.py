"""Texts to calibrate on, and texts held out."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from maskedge_export.errors import CalibrationTextError

__all__ = ["read_texts", "split_texts", "too_few"]

SEED = 20

CALIBRATION_TEXTS = 1024

VERIFICATION_TEXTS = 4000
"""As many masks: their perplexity's change has an interval of about 0.4 % to either side."""

FEWEST_TEXTS = 64


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
