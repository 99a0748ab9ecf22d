"""How near `fill` comes to the time of its integer products alone, and where the rest goes: one thread, rows of 32
tokens with a mask each.

    .venv/bin/python benchmarks/roofline.py --out docs/results/roofline.json

The products are those that the model's sizes name, each once, as each engine's kernel runs them when nothing else is in
the graph. The BERT-base's bundle is the one that `make bench` has exported.
"""

import json
import math
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from harness.environments import BUILD
from harness.machine import machine
from harness.workloads import sentences_of, text_of
from phases import phase_seconds
from products import Product, kernel_seconds
from timing import median_seconds, seconds_of

from maskedge import Predictor
from maskedge.arrays import Int64Array
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import EngineName, Graph, Outputs
from maskedge.bundle.padding import Padding
from maskedge_export import inspect_graph

ROOT = Path(__file__).parents[1]
TILES = Path(__file__).with_name("tiles.c")
EXAMPLES = ROOT / "examples" / "sentences.txt"
ROWS, LENGTH = 32, 32
"""Of a batch as the runtime makes it: 1,024 tokens."""
BATCHES = 8
INTEGER_PRODUCT = "MatMulIntegerToFloat"

Figures = dict[str, Any]


def main(
    bundle: Annotated[
        Path | None, typer.Option(help="A BERT-base's.", show_default="as exported by make bench")
    ] = None,
    text: Annotated[list[Path] | None, typer.Option(help="Text or Parquet files with sentences.")] = None,
    rounds: Annotated[int, typer.Option()] = 7,
    out: Annotated[Path, typer.Option()] = Path("build/roofline.json"),
) -> None:
    """Measure, and write the figures."""
    sentences = sentences_of(text or [EXAMPLES])
    bundles = {"bert-base": bundle or exported(), "default": None}
    figures = {
        "machine": machine(),
        "batch": {"rows": ROWS, "length": LENGTH},
        "models": {name: of_model(path, sentences, rounds) for name, path in bundles.items()},
        "tiles": tile_rates() if cpu_features().amx_int8 else {},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


def exported() -> Path:
    """The newest bundle that `make bench` made of a BERT-base."""
    found = sorted((BUILD / "prepared").glob("bert-base-maskedge-*/bundle"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise typer.BadParameter("there is no bundle of a BERT-base: run make bench first, or give one with --bundle")
    return found[-1]


def of_model(bundle: Path | None, sentences: Sequence[str], rounds: int) -> Figures:
    """The products alone, the graph, and all of `fill`: seconds of a batch."""
    predictor = opened(bundle, "onnxruntime")
    config = json.loads((predictor.bundle.path / "config.json").read_text(encoding="utf-8"))
    products, everywhere = products_of(config, masks=ROWS), products_of(config, masks=ROWS * LENGTH)
    kernels = {product: kernel_seconds(product, rounds) for product in products}
    inspected = inspect_graph(predictor.bundle, predictor.precision)
    return {
        "precision": predictor.precision,
        "multiplications": {
            "at all tokens": multiplications(everywhere),
            "where they count": multiplications(products),
        },
        "products": [
            {"shape": product.shape, "rounded": product.rounded, "count": count, "seconds": kernels[product]}
            for product, count in products.items()
        ],
        "limit_seconds": {
            kernel: sum(count * kernels[product][kernel] for product, count in products.items())
            for kernel in next(iter(kernels.values()))
        },
        "graph": {
            "seconds": inspected.seconds,
            "seconds_by_operator": {name: share * inspected.seconds for name, share in inspected.time.items()},
            "integer_products": inspected.optimized[INTEGER_PRODUCT],
            "products": products.total(),
        },
        "fill": fill_seconds(predictor, sentences, rounds),
        "fill_in_openvino": fill_seconds(opened(bundle, "openvino"), sentences, rounds),
        "fill_in_kernels": fill_seconds(opened(bundle, "kernels"), sentences, rounds),
        "phases": phase_seconds(
            predictor.bundle.graph_file(predictor.bundle.graph(predictor.precision)[1]), ROWS, LENGTH, rounds
        ),
    }


def tile_rates() -> dict[str, float]:
    """Thousand million multiply-adds a second that a core makes with AMX, by the kB of memory that its tiles come from;
    0 of them: registers."""
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "tiles")
        switches = ["-O2", "-mamx-tile", "-mamx-int8"]
        compiler = shutil.which("cc") or "cc"
        subprocess.run([compiler, *switches, str(TILES), "-o", str(program)], check=True)
        printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {size: float(rate) for size, rate in map(str.split, printed.splitlines())}


def opened(bundle: Path | None, engine: EngineName) -> Predictor:
    """A predictor on one thread."""
    return Predictor.load(bundle, threads=1, engine=engine)


def products_of(config: Figures, masks: int) -> Counter[Product]:
    """All products of a batch's tokens with weights, by how many there are of each.

    After the last layer's keys and values only so many tokens are computed as there are masks.
    """
    hidden, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    tokens = ROWS * LENGTH
    found: Counter[Product] = Counter()
    for rows, blocks in ((tokens, layers - 1), (masks, 1)):
        found[Product(rows, hidden, hidden)] += 2 * blocks  # queries, and what attention found
        found[Product(rows, hidden, wide, rounded=True)] += blocks
        found[Product(rows, wide, hidden)] += blocks
    found[Product(tokens, hidden, hidden)] += 2 * layers  # keys and values
    found[Product(masks, hidden, hidden)] += 1  # the head's
    found[Product(masks, hidden, config["vocab_size"])] += 1
    return found


def multiplications(products: Counter[Product]) -> int:
    """Of numbers, in all of them."""
    return sum(count * math.prod(product.shape) for product, count in products.items())


def fill_seconds(predictor: Predictor, sentences: Sequence[str], rounds: int) -> dict[str, float]:
    """Of a batch: all of `fill`, and the parts of it that the graph and the tokenizer take."""
    words = iter(" ".join(sentences).split() * 4)
    tokenizer = predictor.encoder.tokenizer
    texts = [text_of(tokenizer, words, predictor.mask_token, LENGTH) for _ in range(ROWS * BATCHES)]
    graph = TimedGraph(predictor.graph)
    timed = replace(predictor, graph=graph)
    turns = [(seconds_of(lambda: timed.fill(texts)), graph.taken()) for _ in range(rounds + 1)][1:]
    encoding = median_seconds(lambda: predictor.encoder.encode_all(texts), rounds)
    whole, graphs = (statistics.median(each) for each in zip(*turns, strict=True))
    return {"whole": whole / BATCHES, "graph": graphs / BATCHES, "encoding": encoding / BATCHES}


@dataclass
class TimedGraph:
    """A graph, and the seconds that its runs took."""

    graph: Graph
    seconds: float = 0.0

    @property
    def padding(self) -> Padding:
        """That of the graph."""
        return self.graph.padding

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        started = time.perf_counter()
        try:
            return self.graph.run(outputs, inputs)
        finally:
            self.seconds += time.perf_counter() - started

    def taken(self) -> float:
        """The seconds since this was asked last."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


if __name__ == "__main__":
    typer.run(main)
