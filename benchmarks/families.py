"""What becomes of each family of masked language models that transformers knows: its path, its parity, or its refusal.

    .venv/bin/python benchmarks/families.py

Exports a tiny checkpoint of each family, with random weights: fp32 is compared with PyTorch at every size, int8 with
fp32. Random weights make int8 look worse than trained ones would: its figures say that it works, not how well. Writes
the figures as JSON. With --only, the other families' rows are left as they are.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import onnx_ir as ir
import torch
import typer
from rich.console import Console

from maskedge.bundle.format import Manifest
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.encoders.families import FAMILIES as NATIVE
from maskedge_export.errors import ExportError
from maskedge_export.tokenization.classes import MODEL_TYPES, PYTHON_ONLY

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "tiny"))
from tiny_families import FAMILIES, SENTENCES, save_checkpoint  # noqa: E402

TEXTS = 80
"""Lines to calibrate on and to verify with: enough for models that know nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One family."""

    path: str
    """`native`, `generic` or `refused`."""
    fp32_logprob_difference: float | None = None
    """Largest, nats."""
    int8_mean_kl: float | None = None
    """Nats."""
    int8_top1_agreement: float | None = None
    nodes: int | None = None
    """Of the fp32 graph."""
    reason: str | None = None
    """Why it is refused."""
    stand_in_tokenizer: bool = False
    """Whether its checkpoint had another tokenizer than the family's own, which exists in Python only."""


def main(
    out: Annotated[Path, typer.Option(help="Where families.json goes.")] = Path("build"),
    only: Annotated[
        list[str] | None, typer.Option(help="A family to do again; may be repeated.", show_default="all")
    ] = None,
) -> None:
    """Export a checkpoint of each family, print a line for each, and write the figures."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)  # models so small only lose by being divided
    figures_file = out / "families.json"
    rows = _earlier(figures_file) if only else {}
    for family in only or sorted(FAMILIES):
        rows[family] = outcome(family)
        Console().print(f"{family}: {rows[family]}", highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    versions = {package: version(package) for package in ("transformers", "torch", "onnxruntime")}
    figures: dict[str, Any] = {
        "versions": versions,
        "families": {name: asdict(row) for name, row in sorted(rows.items())},
    }
    figures_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _earlier(figures_file: Path) -> dict[str, Row]:
    """What an earlier run found."""
    if not figures_file.exists():
        return {}
    return {name: Row(**row) for name, row in json.loads(figures_file.read_text(encoding="utf-8"))["families"].items()}


def outcome(family: str) -> Row:
    """The family's checkpoint exported, or why it cannot be."""
    with tempfile.TemporaryDirectory() as scratch:
        texts = Path(scratch) / "texts.txt"
        texts.write_text("\n".join(SENTENCES.read_text(encoding="utf-8").splitlines()[:TEXTS]), encoding="utf-8")
        checkpoint = save_checkpoint(family, Path(scratch) / family)
        try:
            bundle = Path(scratch) / "bundle"
            manifest = export_bundle(str(checkpoint), bundle, ExportOptions("both", (texts,), gate=False))
        except ExportError as error:
            return Row("refused", reason=" ".join(str(error).split()))
        return _figures(family, manifest, bundle)


def _figures(family: str, manifest: Manifest, bundle: Path) -> Row:
    fp32, int8 = (manifest.graphs[precision].verification for precision in ("fp32", "int8"))
    return Row(
        "native" if family in NATIVE else "generic",
        fp32["max_logprob_difference"],
        int8["mean_kl"],
        int8["top1_agreement"],
        len(list(ir.load(bundle / manifest.graphs["fp32"].file).graph)),
        stand_in_tokenizer=MODEL_TYPES.get(family) in (*PYTHON_ONLY, "EsmTokenizer"),
    )


if __name__ == "__main__":
    typer.run(main)
