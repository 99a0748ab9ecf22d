"""Scored files without a model: rows whose scores are drawn, so that a test knows them all."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.scoring.columns import SCORE_FIELDS

Rows = list[dict[str, Any]]

OWN = pa.schema([("text", pa.string()), ("target", pa.list_(pa.string())), ("genre", pa.string()), ("id", pa.int64())])


def provenance(**changed: Any) -> dict[str, Any]:
    said = {"model": "drawn", "precision": "fp32", "fingerprint": "f" * 64, "maskedge": "0", "verification": {}}
    options = {"text_column": "text", "target_column": "target", "top_k": 5}
    return {**said, "options": {**options, **changed.pop("options", {})}, **changed}


def write_scored_file(
    path: Path, rows: Rows, *, without: tuple[str, ...] = (), row_group_size: int | None = None, **changed: Any
) -> Path:
    """Writes rows, whose missing columns are null; `changed` are parts of the provenance."""
    metadata: dict[bytes | str, bytes | str] = {"maskedge": json.dumps(provenance(**changed))}
    schema = pa.schema([*OWN, *SCORE_FIELDS], metadata=metadata)
    table = pa.Table.from_pylist([{"mlm_status": "ok", **row} for row in rows], schema=schema)
    pq.write_table(table.drop_columns(list(without)), path, row_group_size=row_group_size)
    return path


def masked_row(logprobs: list[float | None], *, text: str = "a [MASK] .", **changed: Any) -> dict[str, Any]:
    """A row with a mask for each log-probability; None: no target there."""
    rated = [logprob for logprob in logprobs if logprob is not None]
    return {
        "text": text,
        "target": [None if logprob is None else "word" for logprob in logprobs],
        "mlm_entropy": [1.0 for _ in logprobs],
        "mlm_target_logprob": logprobs,
        "mlm_target_rank": [None if logprob is None else 1 for logprob in logprobs],
        "mlm_target_pieces": [None if logprob is None else 1 for logprob in logprobs],
        "mlm_predictions": [[{"token": 0, "token_str": "word", "score": 0.5}] for _ in logprobs],
        "mlm_perplexity": math.exp(min(-sum(rated) / len(rated), 700)) if rated else None,
        "mlm_token_count": 4,
        "mlm_truncated": False,
        **changed,
    }


def unmasked_row(pll: float, *, tokens: int = 4, words: int = 3, **changed: Any) -> dict[str, Any]:
    return {
        "text": "a text .",
        "mlm_pll": pll,
        "mlm_perplexity": math.exp(min(-pll / tokens, 700)),
        "mlm_token_count": tokens,
        "mlm_word_count": words,
        "mlm_character_count": 3 * tokens,
        "mlm_truncated": False,
        **changed,
    }


def drawn_rows(count: int, seed: int = 0) -> Rows:
    """Rows of every kind: with one mask or several, with and without targets, without masks, set aside."""
    draw = random.Random(seed)
    return [_drawn_row(draw, number) for number in range(count)]


def _drawn_row(draw: random.Random, number: int) -> dict[str, Any]:
    common = {"id": number, "genre": draw.choice(["news", "fiction", "law", None])}
    kind = draw.random()
    if kind < 0.05:
        return {**common, "mlm_status": draw.choice(["null_text", "too_long"])}
    if kind < 0.4:
        tokens = draw.randint(1, 40)
        return unmasked_row(-draw.expovariate(1 / (3 * tokens)), tokens=tokens, words=draw.randint(1, tokens), **common)
    masks = draw.choice([1, 1, 1, 2, 3])
    pieces = [draw.choice([1, 1, 1, 2, 3, 7]) for _ in range(masks)]
    logprobs = [-draw.expovariate(0.3) if draw.random() < 0.9 else None for _ in range(masks)]
    ranks = [draw.choice([1, 1, 2, 4, 5, 6, 900]) if size == 1 else None for size in pieces]
    words = [draw.choice(["cat", "Dog", "house", "rare"]) for _ in range(masks)]
    predictions = [[{"token": 0, "token_str": "a", "score": draw.random()}] * draw.choice([1, 2]) for _ in range(masks)]
    known = [logprob is not None for logprob in logprobs]
    return masked_row(
        logprobs,
        text=" ".join(["[MASK]"] * masks + draw.choices(["the", "cat", "DOG", "dog's"], k=3)),
        target=[word if there else None for word, there in zip(words, known, strict=True)],
        mlm_target_pieces=[size if there else None for size, there in zip(pieces, known, strict=True)],
        mlm_target_rank=[rank if there else None for rank, there in zip(ranks, known, strict=True)],
        mlm_entropy=[draw.uniform(0, 9) for _ in range(masks)],
        mlm_predictions=predictions,
        mlm_token_count=draw.randint(1, 40),
        **common,
    )
