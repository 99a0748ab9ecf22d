"""What the heads of a model do over annotated text, and whether they look at the words that matter.

    .venv/bin/python benchmarks/heads.py en_ewt-ud-dev.conllu en_ewt-ud-test.conllu --json docs/results/heads.json

`mlm-batch heads` finds what they do. Then in each of some sentences one word is masked, and where the mask looks is
compared with what occlusion says of the other words (`Predictor.influence`). The head that agrees best is chosen on
half of the sentences and measured on the other.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from maskedge import Influence, Predictor
from maskedge.arrays import Float64Array
from maskedge_batch.heads.annotated import AnnotatedSentence, read_conllu
from maskedge_batch.heads.rendering import sentence_about
from maskedge_batch.heads.report import best_heads
from maskedge_batch.runs.heads import HeadsJob, report_on_heads
from maskedge_export.evaluation.bootstrap import estimate

SENTENCES = 1000
FEWEST_WORDS = 6
"""Of which five are not masked: correlations over fewer say little."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well something agrees with the influence of a sentence's words, a value for each way to look."""

    correlation: Float64Array
    """Spearman's, over the sentence's words."""
    same_word: Float64Array
    """1 where both name the same word first."""


def main(
    corpora: list[Path],
    bundle: Annotated[Path | None, typer.Option(show_default="maskedge's own")] = None,
    sentences: int = SENTENCES,
    json_file: Annotated[Path, typer.Option("--json")] = Path("build/heads.json"),
    report: Annotated[Path, typer.Option(help="Where the report of `mlm-batch heads` goes.")] = Path("build/heads"),
) -> None:
    """Measure, print, and write the figures."""
    analysis = report_on_heads(HeadsJob(tuple(corpora), report, bundle)).report.analysis
    predictor = Predictor.load(bundle)
    figures = {
        "model": predictor.name,
        "precision": predictor.precision,
        "layers": analysis.layers,
        "heads": analysis.heads,
        "sentences": analysis.sentences,
        "tokens": analysis.tokens,
        "roles": best_heads(analysis),
        "uniform": analysis.uniform,
        "relations": [{**asdict(one), "sentence": sentence_about(one)} for one in analysis.relations],
        "influence": agreement_figures(predictor, corpora, analysis.heads, sentences),
    }
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures["influence"], indent=1))


def agreement_figures(predictor: Predictor, corpora: list[Path], heads: int, limit: int) -> dict[str, Any]:
    """The agreement of the best head, of all heads' mean, and of nearness, with intervals over sentences.

    Args:
        predictor: With an attention graph.
        corpora: CoNLL-U files.
        heads: Of each layer.
        limit: Most sentences to ask about.
    """
    masked = islice(masked_sentences(predictor, chain.from_iterable(map(read_conllu, corpora))), limit)
    found = [agreement(predictor, text) for text in masked]
    correlations = np.array([one.correlation for one in found])  # [sentences, heads + 2]
    same = np.array([one.same_word for one in found])
    best = int(correlations[::2, :-2].mean(0).argmax())
    ways = {"best head": best, "mean of all heads": -2, "nearness": -1}
    layer, head = divmod(best, heads)
    return {
        "sentences": len(found),
        "best_head": [layer + 1, head + 1],
        "ways": {
            name: {
                "correlation": asdict(estimate(correlations[1::2, way])),
                "same_word": asdict(estimate(same[1::2, way])),
            }
            for name, way in ways.items()
        },
        "more_than_nearness": asdict(estimate(correlations[1::2, -2] - correlations[1::2, -1])),
    }


def masked_sentences(predictor: Predictor, sentences: Iterator[AnnotatedSentence]) -> Iterator[str]:
    """Sentences that the model reads whole, one word of letters masked in each."""
    drawn = random.Random(0)
    for sentence in sentences:
        words = [word for word in sentence.words if sentence.text[word.start : word.stop].isalpha()]
        if len(words) >= FEWEST_WORDS:
            word = drawn.choice(words)
            text = f"{sentence.text[: word.start]}{predictor.mask_token}{sentence.text[word.stop :]}"
            if not predictor.encode(text).truncated:
                yield text


def agreement(predictor: Predictor, text: str) -> Agreement:
    """Of every head, layer by layer, of the mean of them, and of nearness to the mask."""
    influence = predictor.influence(text)
    matters = np.abs([word.change for word in influence.words])
    looks = ways_to_look(predictor, influence)
    return Agreement(
        correlation=np.array([spearman(matters, way) for way in looks]),
        same_word=(looks.argmax(1) == matters.argmax()).astype(np.float64),
    )


def ways_to_look(predictor: Predictor, influence: Influence) -> Float64Array:
    """[heads + 2, words]: how much the mask looks at each word, by head and in the mean; and how near the word is."""
    weights = predictor.attend(influence.text).weights[:, :, influence.position].astype(np.float64)
    heads = weights.reshape(-1, weights.shape[-1])  # [layers * heads, keys]
    by_word = np.stack([heads[:, list(word.positions)].sum(1) for word in influence.words], axis=1)
    near = [-min(abs(place - influence.position) for place in word.positions) for word in influence.words]
    return np.vstack([by_word, by_word.mean(0), near])


def spearman(one: Float64Array, other: Float64Array) -> float:
    """The correlation of two measures' ranks; equal values share the mean of theirs."""
    with np.errstate(invalid="ignore"):
        found = float(np.corrcoef(ranks(one), ranks(other))[0, 1])
    return 0.0 if np.isnan(found) else found  # one of them is the same everywhere


def ranks(values: Float64Array) -> Float64Array:
    """Each value's place in their order, from 1."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[place]


if __name__ == "__main__":
    typer.run(main)
