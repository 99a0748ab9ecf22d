"""The Parquet project's own test files, good and bad, given to `mlm-batch score`: what comes of each.

    git clone --depth 1 https://github.com/apache/parquet-testing build/parquet-testing
    .venv/bin/python benchmarks/bad_parquet.py build/parquet-testing --out docs/results/bad_parquet.json

Each file is read by a process of its own, which may take SECONDS and MEBIBYTES. The text is the first column of strings
or, where there is none or the file cannot be read, a column that is asked for in vain. Some files are encrypted, and no
key is given.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer

BUNDLE = Path(__file__).parents[1] / "tests" / "tiny_bundle"
ROWS = 1000
"""Most that are scored of a file."""
SECONDS = 30
MEBIBYTES = 4096
KNOWN = {0: "scored", 1: "refused", 2: "refused"}
"""What the exit codes of the command line mean."""


def main(
    clone: Annotated[Path, typer.Argument(help="Of the repository parquet-testing.")],
    out: Annotated[Path, typer.Option()] = Path("build/bad_parquet.json"),
) -> None:
    """Read each, and write what came of it."""
    files = sorted(path for folder in ("data", "bad_data") for path in (clone / folder).rglob("*.parquet*"))
    found = {str(path.relative_to(clone)): outcome(path) for path in files}
    counts = Counter(came.partition(":")[0] for came in found.values())
    figures = {"rows": ROWS, "seconds": SECONDS, "mebibytes": MEBIBYTES, "counts": counts, "files": found}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, came in found.items():
        print(came, name, sep=": ")
    print(counts)


def outcome(path: Path) -> str:
    """`scored`, `refused` with what was said, or what should not have come."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "maskedge_batch", "score", str(path), "-o", f"{scratch}/scored.parquet"]
        command += ["--text-column", text_column(path), "--limit", str(ROWS), "--model", str(BUNDLE), "--quiet"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=SECONDS, preexec_fn=limit_memory
            )
        except subprocess.TimeoutExpired:
            return f"hung: more than {SECONDS} s"
    last = (done.stderr.strip().splitlines() or [""])[-1].replace(str(path), path.name).replace(scratch, "")
    if "Traceback" in done.stderr or done.returncode not in KNOWN:
        return f"broke: exit code {done.returncode}: {last}"
    return KNOWN[done.returncode] + (f": {last}" if done.returncode else "")


def limit_memory() -> None:
    """For a process that is about to start."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEBIBYTES << 20, MEBIBYTES << 20))


def text_column(path: Path) -> str:
    """The first of strings."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return "text"
    return next((field.name for field in schema if is_text(field.type)), "text")


def is_text(kind: pa.DataType) -> bool:
    """Whether its values are read as texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


if __name__ == "__main__":
    typer.run(main)
