"""Real text -> a Parquet file of sentences with one word masked each, the word as target.

    .venv/bin/python benchmarks/mask_words.py TEXT.parquet --rows 20000 --out build/masked.parquet

Sentences are drawn with a fixed seed, from the column `text` of Parquet files or the lines of text files. The word
is drawn among those that are one token of the model.
"""

import random
import re
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from maskedge import Predictor, TextError
from maskedge_export.evaluation.masked_tokens import SENTENCE_END
from maskedge_export.evaluation.texts import read_texts

WORD = re.compile(r"\b[^\W\d_]+\b")
SHORTEST, LONGEST = 20, 400  # characters of a sentence


def main(
    texts: list[Path],
    out: Annotated[Path, typer.Option()],
    rows: Annotated[int, typer.Option()] = 20_000,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Write `rows` masked sentences."""
    rng = random.Random(seed)
    paragraphs = read_texts(texts)
    rng.shuffle(paragraphs)
    predictor = Predictor.load()
    masked: list[tuple[str, str]] = []
    for paragraph in paragraphs:
        sentence = rng.choice(SENTENCE_END.split(paragraph))
        if SHORTEST <= len(sentence) <= LONGEST and (row := mask_word(sentence, predictor, rng)):
            masked.append(row)
        if len(masked) == rows:
            break
    text, target = zip(*masked, strict=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": text, "target": target}), out)
    print(f"{out}: {len(masked):,} rows")


def mask_word(sentence: str, predictor: Predictor, rng: random.Random) -> tuple[str, str] | None:
    """The sentence with one word masked, and the word; None where it has none that is one token."""
    words = list(WORD.finditer(sentence))
    rng.shuffle(words)
    for word in words:
        text = sentence[: word.start()] + "[MASK]" + sentence[word.end() :]
        try:
            if predictor.target_id(predictor.encode(text), 0, word.group()) is not None:
                return text, word.group()
        except TextError:
            return None
    return None


if __name__ == "__main__":
    typer.run(main)
