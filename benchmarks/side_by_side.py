"""maskedge beside everything that a user would otherwise pick: one run, the same rows, the same cores, in turns.

    .venv/bin/python benchmarks/side_by_side.py                      # or: make bench
    .venv/bin/python benchmarks/side_by_side.py --workload one --peer maskedge --peer openvino --minutes 5

Each contender is a process of its own with an environment of its own (benchmarks/peers/), and all take turns over the
rounds, in an order drawn for each; the medians count. Two models: a BERT-base with random weights, which is what most
people run, and the one that maskedge comes with. What is made of the models, and the environments, are kept in
build/peers. Every measurement is written as it is made, in build/peers/side_by_side.jsonl: a run that was killed goes
on there. The figures and the picture are written to `--out`.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from harness.contenders import PEERS, ComparedModel, Entry, Peer, entries
from harness.environments import BUILD, OURS, ROOT, NotInstallableError, environment, installed_bytes, versions
from harness.journal import Journal
from harness.machine import machine
from harness.plot import draw
from harness.race import COLD, COLD_SHARE, Race
from harness.summary import model_figures
from harness.workloads import Rows, Sizes, make_rows, sentences_of
from rich.console import Console

CHECKPOINT = ROOT / "checkpoints" / "english-minilm"
SHARED = ROOT.parent / "shared"
"""Beside the checkout there may be real text and vocabularies."""
TEXTS = (SHARED / "data" / "wikipedia-08.parquet", ROOT / "examples" / "sentences.txt")
VOCABULARY = SHARED / "vocab" / "bert-base-uncased" / "vocab.txt"
BERT_BASE, DEFAULT = "bert-base", "default"
WEIGHTS = {BERT_BASE: 0.75, DEFAULT: 0.25}
"""Of the time that is left for measuring."""
WORKLOADS = ("sentences", "one", "pll", "lengths", COLD)
FIGURES = "side_by_side"

console = Console()


def main(
    model: Annotated[list[str] | None, typer.Option(help=f"{BERT_BASE} or {DEFAULT}; both by default.")] = None,
    workload: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(WORKLOADS)}; all by default.")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="A module of benchmarks/peers; all by default.")] = None,
    minutes: Annotated[float, typer.Option(help="For all together, if the least rounds take no longer.")] = 60,
    rounds: Annotated[int, typer.Option(help="The least that count.")] = 3,
    text: Annotated[list[Path] | None, typer.Option(help="Text or Parquet files with sentences.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help=f"A BERT in {BERT_BASE}'s place.")] = None,
    bundle: Annotated[Path | None, typer.Option(help=f"A bundle of {BERT_BASE}, else one is exported.")] = None,
    layers: Annotated[int, typer.Option(help=f"Of {BERT_BASE}: few, to try things out.")] = 12,
    rows: Annotated[int, typer.Option(help="Sentences; the other rows in proportion.")] = Sizes().sentences,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run measured.")] = False,
    out: Annotated[Path, typer.Option(help="Directory of figures and picture.")] = ROOT / "docs" / "results",
    name: Annotated[str, typer.Option(help="Of these files; another machine has its own.")] = FIGURES,
) -> None:
    """Measure, and write figures and picture."""
    deadline = time.monotonic() + 60 * minutes
    sentences = sentences_of(text or [next(path for path in TEXTS if path.is_file())])
    sizes = Sizes().scaled(rows / Sizes().sentences).within(len(sentences))
    calibration = write_lines(BUILD / "calibration.txt", sentences[sizes.measured :][: sizes.calibration])
    checkpoints = {BERT_BASE: checkpoint or random_bert(layers), DEFAULT: CHECKPOINT}
    comparison = Comparison(out / name, deadline, [each for each in PEERS if each.module in (peer or [each.module])])
    for each in model or checkpoints:
        compared = ComparedModel(each, checkpoints[each], calibration, bundle if each == BERT_BASE else None)
        comparison.add(compared, make_rows(sentences, compared, sizes))
    comparison.run(workload or WORKLOADS, rounds, fresh=fresh)


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def random_bert(layers: int) -> Path:
    """A BERT-base with random weights and a real vocabulary, where there is one."""
    vocabulary = VOCABULARY if VOCABULARY.is_file() else None
    directory = BUILD / "checkpoints" / f"bert-base-{layers}-{'uncased' if vocabulary else 'examples'}"
    if not (directory / "model.safetensors").is_file():
        from export_cost import save_checkpoint

        save_checkpoint(directory, layers=layers, vocabulary=vocabulary)
    return directory


@dataclass
class Comparison:
    """Models, and all who run them."""

    out: Path
    """The files of figures and picture, without their endings."""
    deadline: float
    peers: Sequence[Peer]
    rows: dict[str, Rows] = field(default_factory=dict)
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """Why some do not run a model."""
    identity: dict[str, Any] = field(default_factory=lambda: {"machine": machine()})
    """What measurements belong to."""

    def add(self, model: ComparedModel, rows: Rows) -> None:
        """Make everything ready that runs the model."""
        console.print(f"{model.name}: making {len(self.peers)} contenders ready", highlight=False)
        left_out = self.left_out.setdefault(model.name, {})
        self.rows[model.name] = rows
        self.entries[model.name] = list(entries(model, self.peers, left_out))
        self.identity[model.name] = {"weights": model.digest(), "rows": rows.digest()}
        for label, why in left_out.items():
            console.print(f"{model.name}: {label} is left out: {why}", highlight=False, soft_wrap=True)

    def run(self, kinds: Sequence[str], rounds: int, *, fresh: bool) -> None:
        """All rounds; figures and picture are written after each workload."""
        self.identity["maskedge"] = environment(OURS).digest
        journal = Journal(BUILD / f"{FIGURES}.jsonl", self.identity, fresh=fresh)
        seconds = max(0.0, self.deadline - time.monotonic()) / sum(WEIGHTS[name] for name in self.rows)
        for name, rows in self.rows.items():
            race = Race(name, self.entries[name], journal, console, rounds)
            try:
                self.run_model(race, rows, seconds * WEIGHTS[name], kinds)
            finally:
                race.close()

    def run_model(self, race: Race, rows: Rows, seconds: float, kinds: Sequence[str]) -> None:
        """One model's rounds."""
        workloads = [each for each in rows.workloads if each.kind in kinds]
        shares = sum(each.share for each in workloads) + COLD_SHARE * (COLD in kinds)
        for workload in workloads:
            race.run(workload, seconds * workload.share / shares)
            self.write(race.journal)
        if COLD in kinds:
            race.run_cold(rows.first)
            self.write(race.journal)

    def write(self, journal: Journal) -> None:
        """Figures and picture of what has been measured so far."""
        installed = self.installed(journal)
        figures = {
            "machine": machine(),
            "measured": datetime.now(UTC).date().isoformat(),
            "versions": {each.label: versions(of(each), each.packages) for each in installed},
            "installed_megabytes": {each.label: installed_bytes(of(each), each.packages) / 1e6 for each in installed},
            "left_out": self.left_out,
            "models": {name: model_figures(journal, name, rows) for name, rows in self.rows.items()},
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        draw(figures, self.out.with_suffix(".png"))

    def installed(self, journal: Journal) -> list[Peer]:
        """Who has an environment, of those that run, and of those that ran before, as the journal says."""
        return [each for each in PEERS if (each in self.peers or journal.knows(each.label)) and is_installed(each)]


def of(peer: Peer) -> Any:
    """A contender's environment."""
    return environment(peer.environment or peer.module)


def is_installed(peer: Peer) -> bool:
    """Whether it has one."""
    try:
        of(peer)
    except NotInstallableError:
        return False
    return True


if __name__ == "__main__":
    typer.run(main)
