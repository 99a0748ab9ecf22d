"""What a bundled model knows: facts in gaps of our own writing (as LAMA asks, Petroni et al. 2019), everyday sentences,
and minimal pairs.

    .venv/bin/python benchmarks/fact_probes.py [BUNDLE] [--beside OTHER] --json docs/results/fact_probes.json

A fact counts where its word is the most probable one, or among the ten most probable; a word that the vocabulary cannot
spell as one token counts as missed.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from maskedge import Predictor
from maskedge.inference.scoring import Method

ROOT = Path(__file__).parents[1]
FACTS = Path(__file__).with_name("fact_probes.csv")
MASKED = ROOT / "examples" / "masked_sentences.parquet"
PAIRS = ROOT / "examples" / "minimal_pairs.parquet"
METHOD: Method = "within_word_l2r"


def main(
    bundle: Annotated[Path | None, typer.Argument(show_default="maskedge's own")] = None,
    beside: Annotated[Path | None, typer.Option(help="Another bundle.")] = None,
    json_file: Annotated[Path, typer.Option("--json")] = Path("build/fact_probes.json"),
) -> None:
    """Ask, print, and write the figures."""
    models = [Predictor.load(path) for path in (bundle, beside) if path or path is bundle]
    figures = {"models": [figures_of(model) for model in models]}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


def figures_of(predictor: Predictor) -> dict[str, Any]:
    """Everything that is asked of one model."""
    with FACTS.open(encoding="utf-8") as file:
        facts = list(csv.DictReader(file))
    found = ranks(predictor, [fact["text"] for fact in facts], [fact["answer"] for fact in facts])
    by_relation: defaultdict[str, list[int | None]] = defaultdict(list)
    for fact, rank in zip(facts, found, strict=True):
        by_relation[fact["relation"]].append(rank)
    rows = [row for row in pq.read_table(MASKED).to_pylist() if row["target"] and row["text"].count("[MASK]") == 1]
    everyday = ranks(predictor, [row["text"] for row in rows], [row["target"] for row in rows])
    return {
        "name": predictor.name,
        "facts": within(found, (1, 10)),
        "by_relation": {relation: within(each, (1, 10)) for relation, each in by_relation.items()},
        "everyday_sentences": within(everyday, (1, 5)),
        "minimal_pairs": pairs(predictor),
    }


def ranks(predictor: Predictor, texts: list[str], answers: list[str]) -> list[int | None]:
    """The rank of each answer in its gap; None where it is no single token."""
    encoded = [predictor.encode(text) for text in texts]
    known = [[predictor.target_id(text, 0, answer.lower())] for text, answer in zip(encoded, answers, strict=True)]
    fills = predictor.fill_encoded(encoded, top_k=0, targets=known)
    return [fill.masks[0].target.rank if fill.masks[0].target else None for fill in fills]


def within(found: Iterable[int | None], limits: tuple[int, ...]) -> dict[str, float | int]:
    """How many there are, and the share of ranks up to each limit."""
    each = list(found)
    shares = {f"top{limit}": sum(rank is not None and rank <= limit for rank in each) / len(each) for limit in limits}
    return {"count": len(each), **shares}


def pairs(predictor: Predictor) -> dict[str, float | int]:
    """How often the good sentence of a minimal pair has the higher pseudo-log-likelihood."""
    rows = pq.read_table(PAIRS).to_pylist()
    good, bad = (
        [score.pll for score in predictor.score([row[column] for row in rows], method=METHOD)]
        for column in ("sentence_good", "sentence_bad")
    )
    return {"count": len(rows), "accuracy": sum(a > b for a, b in zip(good, bad, strict=True)) / len(rows)}


if __name__ == "__main__":
    typer.run(main)
