"""What the batch job costs beside the model: its throughput against the bare predictor's, and where its time goes.

    .venv/bin/python benchmarks/batch_job.py build/masked.parquet

The same rows, sentences with one word masked each, through `Predictor.fill_encoded` in one call and from a Parquet file
to a scored one. They take turns, and the median counts. The models are the bundled one and a
BERT-base with random weights, in fp32. Writes the figures as JSON.
"""

import json
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from export_cost import save_checkpoint
from rich.console import Console
from rich.table import Table

from maskedge import Predictor
from maskedge_batch.inputs.parquet import open_parquet
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns, scored_schema
from maskedge_batch.scoring.profile import Profile, Stage
from maskedge_export.bundles.export import ExportOptions, export_bundle

SENTENCES = Path(__file__).parents[1] / "examples" / "sentences.txt"
COLUMNS = Columns("text", "target")
WORD = re.compile(r"\b[^\W\d_]+\b")

Metrics = dict[str, Any]


def main(
    masked: Annotated[
        Path | None,
        typer.Argument(help="Parquet with a column `text` of sentences with one [MASK] each, and `target`."),
    ] = None,
    bundled_rows: Annotated[int, typer.Option(help="Rows for the bundled model.")] = 4_000,
    base_rows: Annotated[int, typer.Option(help="Rows for the BERT-base.")] = 400,
    base: Annotated[
        Path | None, typer.Option(help="A bundle with BERT-base's shape.", show_default="one is exported")
    ] = None,
    rounds: Annotated[int, typer.Option()] = 3,
    threads: Annotated[int | None, typer.Option(help="Of the model.", show_default="as many as CPUs")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/batch_job.json"),
) -> None:
    """Compare, print a table, and write the figures. Without rows, words of the example sentences are masked."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = base or export_base(Path(scratch))
        models = {
            "english-minilm int8": (Predictor.load(threads=threads), bundled_rows),
            "BERT-base shape, fp32": (Predictor.load(bundle, precision="fp32", threads=threads), base_rows),
        }
        figures: Metrics = {
            "processor": platform.processor() or platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "rounds": rounds,
            "versions": {name: version(name) for name in ("maskedge", "onnxruntime", "tokenizers", "pyarrow")},
            "models": {
                name: measure(predictor, masked_rows(masked, rows), rounds, Path(scratch))
                for name, (predictor, rows) in models.items()
            },
        }
    bundled = figures["models"]["english-minilm int8"]
    figures["rows_per_second"] = bundled["job_rows_per_second"]
    figures |= {name: bundled[name] for name in ("input_bytes_per_row", "output_bytes_per_row")}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def export_base(scratch: Path) -> Path:
    """A bundle of a BERT-base with random weights."""
    checkpoint = scratch / "bert-base"
    checkpoint.mkdir()
    save_checkpoint(checkpoint)
    export_bundle(str(checkpoint), scratch / "bundle", ExportOptions(precision="fp32", gate=False))
    return scratch / "bundle"


def masked_rows(masked: Path | None, count: int) -> pa.Table:
    """Sentences with one word masked each, and the word; no two are the same."""
    if masked:
        return pq.read_table(masked, columns=["text", "target"]).slice(0, count)
    rows = []
    for sentence in SENTENCES.read_text(encoding="utf-8").splitlines():
        for word in WORD.finditer(sentence):
            rows.append((f"{sentence[: word.start()]}[MASK]{sentence[word.end() :]}", word.group()))
    rows = list(dict.fromkeys(rows))
    random.Random(0).shuffle(rows)
    while len(rows) < count:  # the same again, each a little longer
        rows += [(f"{text} {text.split()[-2]}", target) for text, target in rows]
    texts, targets = zip(*rows[:count], strict=True)
    return pa.table({"text": texts, "target": targets})


def measure(predictor: Predictor, table: pa.Table, rounds: int, scratch: Path) -> Metrics:
    """The figures of one model."""
    count = table.num_rows
    pq.write_table(table.slice(0, 64), scratch / "rows.parquet")
    bare(predictor, table.slice(0, 64))  # what is done once, such as imports, does not count
    job(predictor, scratch, Profile())
    pq.write_table(table, scratch / "rows.parquet", compression="zstd")
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "job": []}
    profiles: list[Profile] = []
    for _ in range(rounds):
        profiles.append(Profile())
        times["bare"].append(timed(lambda: bare(predictor, table)))
        times["job"].append(timed(lambda: job(predictor, scratch, profiles[-1])))
    walls = {name: statistics.median(wall for wall, _ in runs) for name, runs in times.items()}
    cpus = {name: statistics.median(cpu for _, cpu in runs) for name, runs in times.items()}
    stages = [profile.stages() for profile in profiles]
    inference = [each[Stage.INFERENCE] for each in stages]
    shares = [
        spent.seconds / predictor.threads / wall for spent, (wall, _) in zip(inference, times["job"], strict=True)
    ]
    cpu_shares = [spent.cpu_seconds / cpu for spent, (_, cpu) in zip(inference, times["job"], strict=True)]
    return {
        "rows": count,
        "threads": predictor.threads,
        "input_bytes_per_row": (scratch / "rows.parquet").stat().st_size / count,
        "output_bytes_per_row": (scratch / "scored.parquet").stat().st_size / count,
        "bare_rows_per_second": count / walls["bare"],
        "job_rows_per_second": count / walls["job"],
        "bare_cpu_seconds": cpus["bare"],
        "job_cpu_seconds": cpus["job"],
        "job_over_bare_throughput": walls["bare"] / walls["job"],
        "job_over_bare_cpu": cpus["job"] / cpus["bare"],
        "inference_share_of_wall": statistics.median(shares),
        "inference_share_of_cpu": statistics.median(cpu_shares),
        "cpu_seconds": {stage: statistics.median(each[stage].cpu_seconds for each in stages) for stage in Stage},
    }


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and CPU seconds of the process."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def bare(predictor: Predictor, table: pa.Table) -> None:
    """Rows in memory -> objects in memory."""
    texts, targets = ([str(value) for value in table.column(name).to_pylist()] for name in ("text", "target"))
    encoded = [predictor.encode(text) for text in texts]
    pieces = [predictor.target_pieces(text, 0, word) for text, word in zip(encoded, targets, strict=True)]
    predictor.fill_encoded(encoded, targets=[[each or None] for each in pieces])


def job(predictor: Predictor, scratch: Path, profile: Profile) -> None:
    """A file -> a scored file."""
    scored = scratch / "scored.parquet"
    with open_parquet(scratch / "rows.parquet") as source:
        batches = score_batches(source.batches(), predictor, COLUMNS, profile=profile)
        with ScoredWriter(scored, scored, scored_schema(source.schema)) as writer:
            for batch in batches:
                with profile.measure(Stage.WRITE):
                    writer.write(batch)


def show(figures: Metrics) -> None:
    """Print the figures as a table."""
    table = Table(title=f"batch job, {figures['cpus']} CPUs")
    for heading in ("model", "bare, rows/s", "job, rows/s", "job / bare", "inference of wall", "of CPU"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, row in figures["models"].items():
        table.add_row(
            name,
            f"{row['bare_rows_per_second']:.1f}",
            f"{row['job_rows_per_second']:.1f}",
            f"{row['job_over_bare_throughput']:.1%}",
            f"{row['inference_share_of_wall']:.1%}",
            f"{row['inference_share_of_cpu']:.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
