"""Visitors' files, scored by `mlm-batch score` in a process of its own.

The runtime does not know the batch room, and need not: what it asks of it is a command line. A process also ends for
good, with all the memory that somebody's file took, when it takes too long or when the page is closed.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISREG
from tempfile import mkdtemp
from threading import Lock
from typing import Any

from maskedge.demo.answers import Refusal
from maskedge.demo.limits import MAX_FILE, MAX_MEMORY, MAX_ROWS, MAX_SECONDS
from maskedge.demo.models import Model

__all__ = ["KINDS", "FileScorer", "ScoredFile", "missing_batch"]

BOUNDED = f"""
import os, resource, runpy
os.nice(10)
most = resource.getrlimit(resource.RLIMIT_DATA)[1]
limit = {MAX_MEMORY} if most == resource.RLIM_INFINITY else min(most, {MAX_MEMORY})
resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
runpy.run_module("maskedge_batch", run_name="__main__", alter_sys=True)
"""
"""`python -m maskedge_batch` with bounded memory, and with the time of the CPUs that the page leaves."""

KINDS = (".parquet", ".jsonl", ".txt")
"""How names of files end that are scored."""


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """A file's scores and what was found of them."""

    files: tuple[Path, ...]
    """The scored Parquet file and the report."""
    figures: tuple[tuple[str, str], ...]
    """With what each is called."""
    limited: bool
    """Whether there may be more rows than were scored."""


@dataclass(slots=True)
class FileScorer:
    """Scores files for visitors, and removes what they brought and got.

    Several threads may use it at once.
    """

    folder: Path
    """Where all files lie, each visitor's in folders of their own."""
    _visits: dict[str, list[Path]] = field(default_factory=dict)
    _running: set["subprocess.Popen[str]"] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def score_file(self, visitor: str, upload: Path, column: str, model: Model) -> ScoredFile:
        """Scores an uploaded file, which is removed. Raises Refusal."""
        try:
            if upload.stat().st_size > MAX_FILE:
                raise Refusal(f"{upload.name} is too big: at most {MAX_FILE >> 20} MB are scored here.")
            return self._score(visitor, upload, column, model)
        except FileNotFoundError:
            raise Refusal("That file is gone already: choose it again.") from None
        finally:
            upload.unlink(missing_ok=True)

    def score_lines(self, visitor: str, lines: str, model: Model) -> ScoredFile:
        """Scores pasted text, a sentence a line. Raises Refusal."""
        folder = self._new_folder(visitor)
        source = folder / "lines.txt"
        source.write_text("\n".join(filter(str.strip, lines.splitlines())) + "\n", encoding="utf-8", errors="replace")
        return self._score(visitor, source, "text", model)

    def remove(self, visitor: str) -> None:
        """Removes all that a visitor has."""
        with self._lock:
            folders = self._visits.pop(visitor, [])
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def remove_older(self, seconds: float) -> None:
        """Removes all files, of whomever, that nobody has written to for so long."""
        oldest = time.time() - seconds
        for path, found in self._files():
            if found.st_mtime < oldest:
                path.unlink(missing_ok=True)

    def bytes_kept(self) -> int:
        """The size of all files, of whomever."""
        return sum(found.st_size for _, found in self._files())

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # whose it was may have been quicker
                if S_ISREG((found := path.stat()).st_mode):
                    yield path, found

    def close(self) -> None:
        """Ends what still runs, and removes everything."""
        with self._lock:
            for process in self._running:
                process.terminate()
        for visitor in list(self._visits):
            self.remove(visitor)

    def _new_folder(self, visitor: str) -> Path:
        folder = Path(mkdtemp(dir=self.folder))
        with self._lock:
            self._visits.setdefault(visitor, []).append(folder)
        return folder

    def _score(self, visitor: str, source: Path, column: str, model: Model) -> ScoredFile:
        folder = self._new_folder(visitor)
        scores = folder / f"{source.stem}.scored.parquet"
        code, errors = self._run(_command(source, scores, column, model))
        if code != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise Refusal(_reason(code, errors, source))
        report = folder / f"{source.stem}.report.html"
        figures = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
        for rest in set(folder.iterdir()) - {scores, report}:
            rest.unlink()
        return ScoredFile((scores, report), tuple(_figures(figures)), figures["rows"] >= MAX_ROWS)

    def _run(self, command: list[str]) -> tuple[int, str]:
        """The exit code of a command, and what it said on standard error."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with self._lock:
            self._running.add(process)
        try:
            _, errors = process.communicate(timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Refusal(f"This took longer than {MAX_SECONDS} seconds, and was given up.") from None
        finally:
            with self._lock:
                self._running.discard(process)
        return process.returncode, errors


def missing_batch() -> str | None:
    """Why files cannot be scored; None where they can."""
    if find_spec("pyarrow") and find_spec("duckdb"):
        return None
    return "Scoring files needs the batch job, which is not installed: pip install 'maskedge[batch]'"


def _command(source: Path, scores: Path, column: str, model: Model) -> list[str]:
    predictor = model.predictor
    options = {
        "--output": scores,
        "--model": predictor.bundle.path,
        "--precision": predictor.precision,
        "--text-column": column or "text",
        "--limit": MAX_ROWS,
        "--threads": model.slow.threads,
    }
    named = [str(part) for option in options.items() for part in option]
    return [sys.executable, "-c", BOUNDED, "score", *named, "--quiet", "--", str(source)]


def _reason(code: int, errors: str, source: Path) -> str:
    """What went wrong, as `mlm-batch` says it, without places of this machine."""
    said = [line.removeprefix("Error: ") for line in errors.splitlines() if line.strip()]
    if code < 0 or not said or any(line.startswith("Traceback") for line in said):
        return f"{source.name} could not be scored: it may take more than {MAX_MEMORY >> 30} GiB of memory."
    return " ".join(said).replace(f"{source.parent}/", "")


def _figures(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures of a report's JSON that a visitor reads first."""
    yield "rows scored", f"{report['rows_ok']:,} of {report['rows']:,}"
    for reason, rows in report["set_aside"].items():
        yield f"set aside: {reason.replace('_', ' ')}", f"{rows:,}"
    if masked := (report["masked"] or {}).get("overall"):
        yield "masked perplexity", f"{masked['perplexity']['value']:,.2f}, {masked['targets']:,} targets"
        for each in masked["accuracies"]:
            yield f"top-{each['k']}", f"{100 * each['share']['value']:.1f}\N{NO-BREAK SPACE}%"
    if unmasked := (report["unmasked"] or {}).get("overall"):
        yield "pseudo-perplexity", f"{unmasked['pseudo_perplexity']['value']:,.2f}, {unmasked['tokens']:,} tokens"
        if per_word := unmasked["pseudo_perplexity_per_word"]:
            yield "per word", f"{per_word['value']:,.2f}"
