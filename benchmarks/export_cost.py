"""Time and peak memory of exporting a BERT-base, as `mlm-export bundle` takes them in a process of its own.

    .venv/bin/python benchmarks/export_cost.py --vocabulary vocab.txt --paragraphs articles.parquet

The checkpoint has BERT-base's sizes (Devlin et al. 2019: 12 layers of 768, 30,522 entries) and random weights, so its
quality figures mean nothing and its gate is off. int8 is calibrated on the example sentences, and once more on longer
texts where there are some. Writes JSON.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

ROOT = Path(__file__).parents[1]
SENTENCES = ROOT / "examples" / "sentences.txt"
MEBIBYTE = 2**20

app = typer.Typer(add_completion=False)


@app.command()
def main(
    paragraphs: Annotated[Path | None, typer.Option(help="Long texts to calibrate on as well.")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="A vocab.txt.", show_default="the example sentences'")] = None,
    json_file: Annotated[Path, typer.Option("--json")] = ROOT / "docs" / "results" / "export_cost.json",
) -> None:
    """Export the checkpoint in fp32 and in int8."""
    wanted = {"fp32": None, "int8": SENTENCES} | ({"int8, paragraphs": paragraphs} if paragraphs else {})
    with tempfile.TemporaryDirectory() as scratch:
        size = save_checkpoint(Path(scratch) / "bert-base", vocabulary=vocabulary)
        exports = {name: export(Path(scratch), text) for name, text in wanted.items()}
    for cost in exports.values():
        cost["times_checkpoint"] = cost["peak_mebibytes"] * MEBIBYTE / size
    processor = platform.processor() or platform.machine()
    figures = {"processor": processor, "cores": len(os.sched_getaffinity(0)), "checkpoint_bytes": size} | exports
    json_file.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def save_checkpoint(directory: Path, *, layers: int = 12, vocabulary: Path | None = None) -> int:
    """A BERT-base with random weights; returns the size of its fp32 weights, bytes.

    Its vocabulary is that of a `vocab.txt`, or the example sentences'.
    """
    torch.manual_seed(0)
    tokenizer = BertWordPieceTokenizer.from_file(str(vocabulary)) if vocabulary else trained_tokenizer()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("mask", "pad", "unk", "cls", "sep")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names).save_pretrained(directory)
    BertForMaskedLM(BertConfig(num_hidden_layers=layers)).save_pretrained(directory)
    return (directory / "model.safetensors").stat().st_size


def trained_tokenizer() -> BertWordPieceTokenizer:
    """Of the example sentences' pieces, and as many other entries as BERT-base has."""
    trained = BertWordPieceTokenizer()
    trained.train([str(SENTENCES)], vocab_size=2000, show_progress=False)
    known = trained.get_vocab()
    others = {f"entry{number}": number for number in range(len(known), BertConfig().vocab_size)}
    return BertWordPieceTokenizer(vocab=known | others)


def export(scratch: Path, calibration: Path | None) -> dict[str, Any]:
    """Seconds and peak memory of one export, PyTorch's start included: in int8 where there is text to calibrate on."""
    command = [sys.executable, "-m", "maskedge_export", "bundle", str(scratch / "bert-base"), "--no-gate"]
    command += ["--out", str(scratch / "bundle"), "--overwrite"]
    command += ["--calibration", str(calibration)] if calibration else ["--precision", "fp32"]
    before = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {status}")
    return {"seconds": time.monotonic() - before, "peak_mebibytes": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    app()
