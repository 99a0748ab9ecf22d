"""What is asked of the contenders: rows made of real sentences, the same for all."""

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.contenders import ComparedModel
from tokenizers import Tokenizer

from maskedge_export.evaluation.masked_tokens import SENTENCE_END
from maskedge_export.evaluation.texts import read_texts

__all__ = ["LENGTHS", "Rows", "Sizes", "Workload", "make_rows", "sentences_of"]

WORD = re.compile(r"\b[^\W\d_]+\b")
SHORTEST, LONGEST = 20, 400
"""Characters of a sentence."""
LENGTHS = (16, 64, 256, 512)
"""Tokens of the texts that are all of one length."""
FILLER = "the"
"""One token in every vocabulary."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows of each kind."""

    sentences: int = 600
    one: int = 40
    pll: int = 12
    tokens: int = 1024
    """Of the texts of each length together."""
    calibration: int = 320
    """Sentences that are not measured."""

    @property
    def measured(self) -> int:
        """Sentences that are, of those that come first."""
        return self.sentences + self.one + self.pll

    def scaled(self, share: float) -> "Sizes":
        """A share of the rows, and as many sentences to calibrate with."""
        sizes = {name: max(4, round(share * getattr(self, name))) for name in ("sentences", "one", "pll", "tokens")}
        return replace(self, **sizes)

    def within(self, sentences: int) -> "Sizes":
        """Fewer rows where there are so few sentences that too few would be left to calibrate with."""
        return self.scaled(min(1.0, 0.7 * sentences / self.measured))


@dataclass(frozen=True, slots=True)
class Workload:
    """Rows, and what is asked of them."""

    name: str
    """What it is called in figures, such as `lengths/64`."""
    kind: str
    """A contender's word for what it takes part in, such as `lengths`."""
    do: str
    """The request."""
    texts: tuple[str, ...]
    tokens: int
    """Of all texts together, or those that are scored."""
    read: int
    """Tokens that the network has to read: of a text that is scored, as many copies as it has tokens."""
    share: float
    """Of the time that a model has."""


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a model."""

    workloads: tuple[Workload, ...]
    first: str
    """The sentence that a process is asked first."""

    def digest(self) -> str:
        """SHA-256 of all rows."""
        return hashlib.sha256(json.dumps([each.texts for each in self.workloads]).encode()).hexdigest()


def sentences_of(files: Sequence[Path], seed: int = 0) -> list[str]:
    """The sentences of text or Parquet files, in a drawn order."""
    paragraphs = sorted(set(read_texts(list(files))))
    random.Random(seed).shuffle(paragraphs)
    cut = (random.Random(paragraph).choice(SENTENCE_END.split(paragraph)) for paragraph in paragraphs)
    return [text for text in cut if SHORTEST <= len(text) <= LONGEST and len(WORD.findall(text)) > 1]


def make_rows(sentences: Sequence[str], model: ComparedModel, sizes: Sizes) -> Rows:
    """The rows of a model's workloads; its tokenizer counts their tokens."""
    mask = model.mask_token
    tokenizer = Tokenizer.from_file(str(model.checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    masked = [mask_word(text, mask) for text in sentences[: sizes.sentences + sizes.one]]
    many, single = masked[: sizes.sentences], masked[sizes.sentences :]
    scored = sentences[sizes.sentences + sizes.one : sizes.measured]
    found = (
        Workload("sentences", "sentences", "fill", tuple(many), *counts(tokenizer, many), 0.3),
        Workload("one", "one", "fill_each", tuple(single), *counts(tokenizer, single), 0.1),
        Workload("pll", "pll", "score", tuple(scored), *scored_counts(tokenizer, scored), 0.2),
        *length_workloads(tokenizer, sentences, mask, sizes),
    )
    return Rows(found, single[0])


def mask_word(sentence: str, mask: str) -> str:
    """The sentence with one of its words masked, drawn by the sentence itself."""
    word = random.Random(sentence).choice(list(WORD.finditer(sentence)))
    return f"{sentence[: word.start()]}{mask}{sentence[word.end() :]}"


def counts(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[int, int]:
    """Tokens of texts that are filled, and those to read."""
    return count(tokenizer, texts), count(tokenizer, texts)


def scored_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[int, int]:
    """Tokens of texts that are scored, all but the first and the last, and those to read."""
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]
    return sum(length - 2 for length in lengths), sum(length * (length - 2) for length in lengths)


def count(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Tokens of the texts together."""
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts)))


def length_workloads(tokenizer: Tokenizer, sentences: Sequence[str], mask: str, sizes: Sizes) -> Iterator[Workload]:
    """Texts of one length each."""
    words = iter(" ".join(sentences).split() * 4)
    for length in LENGTHS:
        texts = tuple(text_of(tokenizer, words, mask, length) for _ in range(max(2, sizes.tokens // length)))
        yield Workload(f"lengths/{length}", "lengths", "fill", texts, *counts(tokenizer, texts), 0.05)


def text_of(tokenizer: Tokenizer, words: Iterator[str], mask: str, length: int) -> str:
    """The next words as a text of so many tokens, its middle word masked."""
    taken, room = [mask], length - count(tokenizer, [mask])
    while room > 0:
        word = next(words, FILLER)
        tokens = count(tokenizer, [word]) - count(tokenizer, [""])
        word, tokens = (word, tokens) if 0 < tokens <= room else (FILLER, 1)
        taken.append(word)
        room -= tokens
    middle = len(taken) // 2
    return " ".join([*taken[1 : middle + 1], mask, *taken[middle + 1 :]])
