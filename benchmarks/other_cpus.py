"""Whether a bundle says the same on other kinds of CPU, emulated by qemu-user, as on this machine.

    make test-cpus BUNDLE=path/to/bundle

Every graph of the bundle replays its golden vectors and rates the words of examples/masked_sentences.parquet, here and
there. Ends with 1 where the graph that the runtime chooses for a CPU fails its golden vectors there. Writes the figures
as JSON.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from emulation import CPUS, emulated
from rich.console import Console
from rich.table import Table

from maskedge.bundle.format import DEFAULT_BUNDLE, Bundle
from maskedge.inference.metrics import perplexity

ROOT = Path(__file__).parents[1]
MASKED = ROOT / "examples" / "masked_sentences.parquet"
PROGRAM = Path(__file__).with_name("graph_answers.py")
TEXTS = 200
"""Emulated, an int8 graph of the bundled model's size answers some 7 of them in a second, fp32 two."""
HERE = "here"

Answers = dict[str, Any]
"""As `graph_answers` gives them, of a CPU or of one of its graphs."""
Metrics = dict[str, Any]


def main(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle's directory.", show_default="maskedge's own")
    ] = DEFAULT_BUNDLE,
    arm: Annotated[Path, typer.Option(help="A Python for ARM, as `make` puts it there.")] = Path("build/arm"),
    out: Annotated[Path, typer.Option()] = Path("build/cpus.json"),
) -> None:
    """Ask every graph on every CPU, print a table, and write the figures."""
    check_machine(arm)
    job = {"bundle": str(bundle), **masked_words()}
    with tempfile.TemporaryDirectory() as directory:
        machines = {HERE: ([sys.executable], list[Path]())}
        machines |= {name: emulated(cpu, arm, Path(directory)) for name, cpu in CPUS.items()}
        found = {name: ask(name, *machine, job) for name, machine in machines.items()}
    figures = summarize(bundle, found)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)
    if wrong := [name for name in CPUS if not passes(figures, name)]:
        sys.exit(f"{figures['model']} is wrong on {', '.join(map(title, wrong))}: golden vectors differ")


def check_machine(arm: Path) -> None:
    """Ends the program where something is missing, and says what."""
    if platform.machine() != "x86_64":
        sys.exit(f"other CPUs are emulated on x86_64 only, and this is {platform.machine()}")
    if missing := [cpu.emulator for cpu in CPUS.values() if which(cpu.emulator) is None]:
        sys.exit(f"{missing[0]} is not installed; on Debian: apt-get install qemu-user")
    if not (arm / "usr" / "bin" / "python3").exists():
        sys.exit(f"{arm} holds no Python for ARM; `make test-cpus` puts one there")


def masked_words() -> dict[str, list[str]]:
    """Examples with one mask, and the word that was there."""
    rows = [row for row in pq.read_table(MASKED).to_pylist() if row["text"].count("[MASK]") == 1][:TEXTS]
    return {"texts": [row["text"] for row in rows], "targets": [row["target"] for row in rows]}


def ask(name: str, python: list[str], packages: list[Path], job: Mapping[str, object]) -> Answers:
    """What the program answers on a CPU.

    Its environment is empty but for where packages are: some libraries choose their kernels by variables.

    Args:
        name: The CPU's.
        python: What starts a Python there.
        packages: Folders with its packages.
        job: What the program is asked.
    """
    Console(stderr=True).print(f"Asking {title(name)} ...", highlight=False)
    path = ":".join(str(folder.resolve()) for folder in [ROOT / "runtime", *packages])
    finished = subprocess.run(
        [*python, str(PROGRAM)], input=json.dumps(job), env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if not line.startswith("qemu-x86_64: warning")]
        sys.exit("\n".join([f"{' '.join(python)} ended with {finished.returncode}", *lines]))
    answer: Answers = json.loads(finished.stdout)
    return answer


def title(name: str) -> str:
    """What a CPU is called."""
    return CPUS[name].title if name in CPUS else "this machine"


def summarize(bundle: Path, found: Mapping[str, Answers]) -> Metrics:
    """The figures of every graph on every CPU, held against this machine's."""
    here = found[HERE]
    graphs = {
        precision: {name: said["graphs"][precision] for name, said in found.items()} for precision in here["graphs"]
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "model": Bundle.open(bundle).manifest.name,
        "words": sum(logprob is not None for logprob in here["graphs"][here["chosen"]]["logprobs"]),
        "qemu": qemu_version(),
        "versions": here["versions"],
        "cpus": {
            name: {"title": title(name), **{key: said[key] for key in ("architecture", "features", "chosen")}}
            for name, said in found.items()
        },
        "graphs": {
            precision: {
                "cpus": {name: compared(graph, graphs[precision][HERE]) for name, graph in on_cpus.items()},
                "same_bits": groups_of_same_bits(on_cpus),
            }
            for precision, on_cpus in graphs.items()
        },
    }


def compared(found: Answers, here: Answers) -> Metrics:
    """How far a CPU's scores lie from this machine's, nats."""
    logprobs = [logprob for logprob in found["logprobs"] if logprob is not None]
    reference = [logprob for logprob in here["logprobs"] if logprob is not None]
    differences = [abs(a - b) for a, b in zip(logprobs, reference, strict=True)]
    best = [a == b for a, b in zip(found["best_tokens"], here["best_tokens"], strict=True)]
    return {
        "golden": found["golden"],
        "max_difference": max(differences),
        "mean_difference": statistics.fmean(differences),
        "same_best_token": statistics.fmean(best),
        "masked_perplexity": perplexity(sum(logprobs), len(logprobs)),
        "same_alone": found["same_alone"],
    }


def groups_of_same_bits(answers: Mapping[str, Answers]) -> list[list[str]]:
    """The CPUs, those together whose every score is the same number."""
    groups: dict[str, list[str]] = {}
    for name, found in answers.items():
        groups.setdefault(json.dumps(found["logprobs"]), []).append(name)
    return list(groups.values())


def passes(figures: Metrics, name: str) -> bool:
    """Whether the graph that the runtime chooses for a CPU gives its golden vectors there."""
    graph = figures["graphs"][figures["cpus"][name]["chosen"]]
    return bool(graph["cpus"][name]["golden"]["passed"])


def qemu_version() -> str:
    """Of the emulator."""
    answer = subprocess.run([CPUS["haswell"].emulator, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.split()[2]


def show(figures: Metrics) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{figures['model']}: {figures['words']} words, nats from this machine")
    for heading in ("graph", "CPU", "golden vectors", "largest", "mean", "same best token", "perplexity"):
        table.add_column(heading, justify="left" if heading in ("graph", "CPU") else "right")
    for precision, graph in figures["graphs"].items():
        for name, row in graph["cpus"].items():
            golden = f"{row['golden']['max_logprob_difference']:.1e}{'' if row['golden']['passed'] else ' FAILED'}"
            differences = (f"{row[key]:.1e}" for key in ("max_difference", "mean_difference"))
            table.add_row(
                precision,
                title(name),
                golden,
                *differences,
                f"{row['same_best_token']:.1%}",
                f"{row['masked_perplexity']:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
