"""Bundles and texts made to harm: how often each part was tried with what a fuzzer makes of it, and what came of it.

    .venv/bin/python benchmarks/fuzzing.py --runs 1000000 --out docs/results/fuzzing.json

atheris (libFuzzer for Python) changes the files of the tests' small bundle and texts, led by which lines of maskedge
they reach. It stops at an error that a user would see as a traceback, at a crash, at a run of more than 10 s, and at a
file that is opened outside the bundle. What it stopped at lies in build/fuzzing.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from harness.environments import environment, versions

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "tests" / "tiny_bundle"
MEMORY = Path("/dev/shm")  # noqa: S108  # files are written a million times
FOUND = ROOT / "build" / "fuzzing"
SECONDS = 10
"""Most that one run may take."""
LIMIT = 2048
"""MiB that the process may take; asked for more, the system refuses."""
SEEDS: dict[str, list[bytes]] = {
    "manifest": [(BUNDLE / "maskedge.json").read_bytes()],
    "tokenizer": [(BUNDLE / "tokenizer.json").read_bytes()],
    "graph": [(BUNDLE / "onnx" / "fp32.onnx").read_bytes()],
    "text": [b"the [MASK] .", "\u00e9t\u00e9 <mask> \U0001f600\u0301 \u202e[MASK]".encode(), b"a\x00\xff[MASK]" * 10],
}
STATISTIC = re.compile(r"stat::(\w+):\s+(\d+)")


def main(
    target: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(SEEDS)}; all by default.")] = None,
    runs: Annotated[int, typer.Option(help="Of each.")] = 1_000_000,
    seed: Annotated[int, typer.Option()] = 1,
    out: Annotated[Path, typer.Option()] = Path("build/fuzzing.json"),
) -> None:
    """Fuzz each, and write what came of it; of the others, the file keeps what it has."""
    found = environment("atheris")
    targets = {name: fuzz(found.python, name, runs, seed) for name in target or SEEDS}
    kept = json.loads(out.read_text(encoding="utf-8"))["targets"] if target and out.exists() else {}
    figures: dict[str, Any] = {"versions": versions(found, ["atheris"]), "seconds": SECONDS, "mebibytes": LIMIT}
    figures["targets"] = {name: (kept | targets)[name] for name in SEEDS if name in kept | targets}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


def fuzz(python: Path, target: str, runs: int, seed: int) -> dict[str, Any]:
    """What came of one."""
    artifacts = FOUND / target
    shutil.rmtree(artifacts, ignore_errors=True)
    artifacts.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        bundle, corpus = Path(scratch) / "bundle", Path(scratch) / "corpus"
        shutil.copytree(BUNDLE, bundle)
        corpus.mkdir()
        for number, content in enumerate(SEEDS[target]):
            (corpus / str(number)).write_bytes(content)
        longest = 2 * max(map(len, SEEDS[target]))
        options = [f"-runs={runs}", f"-seed={seed}", f"-timeout={SECONDS}", f"-rss_limit_mb={LIMIT + 1}"]
        options += [f"-max_len={longest}", f"-artifact_prefix={artifacts}/", "-print_final_stats=1", str(corpus)]
        program = ROOT / "benchmarks" / "fuzz_targets.py"
        started = time.monotonic()
        command = [str(python), str(program), target, str(bundle), *options]
        quiet = os.environ | {"RUST_BACKTRACE": "0"}  # tokenizers' panics, which are caught, would fill the log
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    (artifacts / "log.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    statistics = {name: int(value) for name, value in STATISTIC.findall(done.stderr)}
    return {
        "runs": statistics.get("number_of_executed_units", 0),
        "peak_mebibytes": statistics.get("peak_rss_mb", 0),
        "seconds": time.monotonic() - started,
        "stopped_at": sorted(path.name for path in artifacts.iterdir() if path.name != "log.txt"),
        "exit_code": done.returncode,
    }


if __name__ == "__main__":
    typer.run(main)
