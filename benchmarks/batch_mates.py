"""How much a sentence's score depends on what stands beside it: scored alone, and in batches of 32 with others.

    .venv/bin/python benchmarks/batch_mates.py
    .venv/bin/python benchmarks/batch_mates.py --peer transformers --sentences 64

Two scores of the bundled model's checkpoint: the log-probability of the best token at a mask, as the pipeline of
transformers answers it, and the pseudo-log-likelihood of a sentence. maskedge answers both, in each engine that is
installed; of its peers each answers what it offers (benchmarks/peers/), in an environment and a process of its own.
Writes the figures as JSON.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from harness.contenders import PEERS, PIPELINE, ComparedModel, Entry, Peer, entries
from harness.environments import ROOT, environment, versions
from harness.machine import machine
from harness.processes import ContenderError
from harness.workloads import mask_word, sentences_of
from rich.console import Console
from rich.table import Table

from maskedge import Predictor
from maskedge.bundle.engine import EngineName

CHECKPOINT = ROOT / "checkpoints" / "english-minilm"
EXAMPLES = ROOT / "examples" / "sentences.txt"
SCORING = ("transformers", "minicons", "optimum", "onnxruntime", "openvino", "ctranslate2")
"""The peers that score sentences here; what torch.compile makes takes minutes to compile."""
ENGINES: dict[EngineName, str] = {"onnxruntime": "", "openvino": ", OpenVINO"}
"""maskedge's, and what the tables call them."""

Score = Callable[[list[str]], list[float]]
"""Texts -> the score of each, nats."""
Metrics = dict[str, Any]

console = Console()


def main(
    peer: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(SCORING)}; all by default.")] = None,
    sentences: Annotated[int, typer.Option(help="How many.")] = 320,
    batch: Annotated[int, typer.Option(help="Sentences that are scored together.")] = 32,
    text: Annotated[list[Path] | None, typer.Option(help="Text or Parquet files with sentences.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/batch_mates.json"),
) -> None:
    """Compare, print a table, and write the figures."""
    texts = sentences_of(text or [EXAMPLES])[:sentences]
    peers = [each for each in PEERS if each.module in (peer or SCORING)]
    left_out: dict[str, str] = {}
    figures = {
        "model": CHECKPOINT.name,
        "rows": len(texts),
        "batch": batch,
        "machine": machine(),
        "masks": masks(texts, batch),
        "sentences": ours(texts, batch) | theirs(texts, batch, peers, left_out),
        "versions": {"maskedge": {"maskedge": version("maskedge")}} | peer_versions(peers, left_out),
        "left_out": left_out,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)


def masks(texts: Sequence[str], batch: int) -> Metrics:
    """The changes at a mask: the pipeline's, told to make batches, and maskedge's."""
    masked = [mask_word(text, "[MASK]") for text in texts]
    pipelines = {PIPELINE: transformers_pipeline(batch)} | predictors()
    return {name: changes(best_scores(pipeline), masked, batch) for name, pipeline in pipelines.items()}


def ours(texts: Sequence[str], batch: int) -> Metrics:
    """The changes of sentences' scores with maskedge."""
    return {name: changes(sentence_scores(predictor), texts, batch) for name, predictor in predictors().items()}


def theirs(texts: Sequence[str], batch: int, peers: Sequence[Peer], left_out: dict[str, str]) -> Metrics:
    """The changes of sentences' scores with the peers; who cannot score is named in `left_out`, and why."""
    found: Metrics = {}
    offered = entries(ComparedModel("default", CHECKPOINT, EXAMPLES), peers, left_out)
    for entry in (each for each in offered if each.name != PIPELINE):  # which answers at masks only
        try:
            with scorer(entry) as score:
                found[entry.name] = changes(score, texts, batch)
        except ContenderError as error:
            left_out[entry.name] = str(error)
    return found


@contextmanager
def scorer(entry: Entry) -> Iterator[Score]:
    """A peer's process, asked for scores. Raises ContenderError."""
    process = entry.start()
    try:
        entry.load(process)
        yield lambda texts: process.ask("score", texts=texts)["scores"]
    finally:
        process.close()


def predictors() -> dict[str, Predictor]:
    """The bundled model in each engine that is installed."""
    opened = [(Predictor.load(engine=engine), suffix) for engine, suffix in ENGINES.items() if find_spec(engine)]
    return {f"maskedge, {predictor.precision}{suffix}": predictor for predictor, suffix in opened}


def transformers_pipeline(batch: int) -> Any:
    """transformers' own, which makes batches of the texts as they come."""
    from transformers import pipeline

    return pipeline("fill-mask", model=str(CHECKPOINT), device="cpu", batch_size=batch)


def best_scores(pipeline: Any) -> Score:
    """The log-probability of the best token at each text's mask, as a pipeline answers it."""
    return lambda texts: [math.log(best_of(answer)["score"]) for answer in pipeline(texts, top_k=1)]


def best_of(answer: Any) -> dict[str, Any]:
    """A text's candidate: where there is one text alone, a pipeline leaves out the list around its candidates."""
    candidate: dict[str, Any] = answer if isinstance(answer, dict) else answer[0]
    return candidate


def sentence_scores(predictor: Predictor) -> Score:
    """The pseudo-log-likelihood of each text."""
    return lambda texts: [score.pll for score in predictor.score(texts)]


def changes(score: Score, texts: Sequence[str], batch: int) -> Metrics:
    """How far the texts' scores alone are from those in batches: the share that is the same to the bit, and nats."""
    alone = [score([text])[0] for text in texts]
    starts = range(0, len(texts), batch)
    together = [found for start in starts for found in score(list(texts[start : start + batch]))]
    differences = [abs(one - other) for one, other in zip(alone, together, strict=True)]
    return {
        "same_bits": sum(difference == 0 for difference in differences) / len(differences),
        "mean_difference": fmean(differences),
        "max_difference": max(differences),
    }


def peer_versions(peers: Sequence[Peer], left_out: dict[str, str]) -> dict[str, dict[str, str]]:
    """The versions of each peer's packages."""
    measured = [each for each in peers if each.label not in left_out]
    return {each.label: versions(environment(each.environment or each.module), each.packages) for each in measured}


def show(figures: Metrics) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{figures['rows']} sentences, alone and in batches of {figures['batch']}")
    for heading in ("contender", "score", "same bits", "mean, nats", "most, nats"):
        table.add_column(heading, justify="left" if heading in ("contender", "score") else "right")
    for kind in ("masks", "sentences"):
        for name, row in figures[kind].items():
            numbers = (f"{row['same_bits']:.1%}", f"{row['mean_difference']:.2g}", f"{row['max_difference']:.2g}")
            table.add_row(name, kind, *numbers)
    console.print(table)
    for name, why in figures["left_out"].items():
        console.print(f"{name} is left out: {why}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
