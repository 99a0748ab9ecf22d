"""Commands on bundles: bundle, verify, inspect, push, compare.

What loads PyTorch is imported by the command that needs it, so that help and mistakes are answered at once.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from maskedge.bundle.format import Bundle
from maskedge.plain_json import plain_json
from maskedge_export.cli.progress import Steps
from maskedge_export.cli.tables import inspection_tables, proof_table
from maskedge_export.memory import limit_heap
from maskedge_export.quantization.precisions import DEFAULT_PRECISION, PRECISIONS, WHY_DEFAULT

if TYPE_CHECKING:
    from maskedge_export.bundles.verify import Proof
    from maskedge_export.evaluation.gate import Gate

__all__ = ["FAILURE", "bundle", "compare", "inspect", "push", "verify"]

FAILURE = 1

MaxDifference = Annotated[
    float | None, typer.Option(min=0, help="Gate: most that a log-probability of fp32 differs from PyTorch's, nats.")
]
MaxKl = Annotated[float | None, typer.Option(min=0, help="Gate: most mean KL divergence of quantized graphs, nats.")]
MinTop1 = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Gate: least share of masks with the same best token in quantized graphs."),
]
MaxPerplexityChange = Annotated[
    float | None,
    typer.Option(min=0, help="Gate: most relative rise of their masked perplexity (0.02 is 2 %), end of its interval."),
]
MinPairs = Annotated[
    float | None, typer.Option(min=0, max=1, help="Gate: least share of minimal pairs that they rank the same.")
]
ABundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's directory.")]
Json = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


def bundle(
    checkpoint: Annotated[str, typer.Argument(help="A Hugging Face checkpoint: a directory or a Hub id.")],
    out: Annotated[Path, typer.Option(help="The bundle's directory, which must not exist yet.")],
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Of {', '.join(PRECISIONS)}; several with commas, or repeated. The first is the bundle's default.",
            show_default=f"{DEFAULT_PRECISION}: right on every CPU",
        ),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Text (one a line), JSONL or Parquet (its text) to calibrate on; may be repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the checkpoint's by default.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub checkpoint.")] = None,
    gate: Annotated[bool, typer.Option(help="--no-gate writes a bundle outside its limits, and says so in it.")] = True,
    max_difference: MaxDifference = None,
    max_kl: MaxKl = None,
    min_top1: MinTop1 = None,
    max_perplexity_change: MaxPerplexityChange = None,
    min_pairs: MinPairs = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")] = False,
    few_texts: Annotated[
        bool, typer.Option("--few-texts", help="Accept fewer than 64 texts; int8 is then verified on those same texts.")
    ] = False,
    standard: Annotated[
        bool, typer.Option("--standard", help="Add the graphs that Optimum and transformers.js load.")
    ] = False,
) -> None:
    """Export a checkpoint to ONNX, quantize it, prove that it still says the same, and write the bundle."""
    from maskedge_export.bundles.export import ExportOptions, export_bundle

    limits = _gate(max_difference, max_kl, min_top1, max_perplexity_change, min_pairs)
    precisions, texts = ",".join(precision or [DEFAULT_PRECISION]), tuple(calibration or ())
    options = ExportOptions(precisions, texts, limits, gate, name, revision, overwrite, few_texts, standard)
    limit_heap()
    with Steps() as steps:
        manifest = export_bundle(checkpoint, out, options, steps.begin)
    console = Console()
    proved = {**manifest.graphs, **{entry.file: entry for entry in manifest.standard.values()}}
    console.print(
        proof_table(
            {f"{name} / {entry.verification['reference']}": entry.verification for name, entry in proved.items()}
        )
    )
    size = sum(entry.size for entry in manifest.files.values())
    console.print(f"[bold]{out}[/]: {manifest.name}, {size / 1e6:.1f} MB", highlight=False, soft_wrap=True)
    if precision is None:
        chosen = f"{DEFAULT_PRECISION} was chosen, as no --precision was given: {WHY_DEFAULT}"
        console.print(chosen, highlight=False, soft_wrap=True)


def verify(
    bundle: ABundle,
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint that it was made of: a directory or a Hub id.")],
    text: Annotated[list[Path], typer.Option(help="Text, JSONL or Parquet to compare on; may be repeated.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub checkpoint.")] = None,
    other_checkpoint: Annotated[
        bool, typer.Option("--other-checkpoint", help="Compare with a checkpoint of another fingerprint all the same.")
    ] = False,
    max_difference: MaxDifference = None,
    max_kl: MaxKl = None,
    min_top1: MinTop1 = None,
    max_perplexity_change: MaxPerplexityChange = None,
    min_pairs: MinPairs = None,
    as_json: Json = False,
) -> None:
    """Prove a bundle again: every graph against PyTorch. Exit code 1 where one is outside the limits."""
    from maskedge_export.bundles.verify import verify_bundle

    limits = _gate(max_difference, max_kl, min_top1, max_perplexity_change, min_pairs)
    opened = Bundle.open(bundle)
    with Steps() as steps:
        proofs = verify_bundle(
            opened,
            checkpoint,
            text,
            limits,
            revision=revision,
            other_checkpoint=other_checkpoint,
            progress=steps.begin,
        )
    if as_json:
        _print_json({proof.file: _proof_as_json(proof) for proof in proofs})
    else:
        Console().print(proof_table({proof.file: proof.comparison.as_dict() for proof in proofs}))
        for proof in proofs:
            if found := proof.attention:
                most, mean = found.max_difference, found.mean_difference
                line = f"{proof.file}: attention differs by at most {most:.2g}, {mean:.2g} in the mean"
                Console().print(line, highlight=False, soft_wrap=True)
    failures = [f"{proof.file}: {failure}" for proof in proofs for failure in proof.failures]
    for failure in failures:
        Console(stderr=True).print(failure, style="red", markup=False, highlight=False, soft_wrap=True)
    if failures:
        raise typer.Exit(FAILURE)


def _gate(*limits: float | None) -> "Gate":
    """The default gate with the limits that are given, in the order of FLAGS."""
    from maskedge_export.evaluation.gate import FLAGS, GATE, changed

    return changed(GATE, **dict(zip(FLAGS, limits, strict=True)))


def _proof_as_json(proof: "Proof") -> dict[str, object]:
    attention = {"attention": proof.attention.as_dict()} if proof.attention else {}
    return {"passed": not proof.failures, "failures": list(proof.failures), **proof.comparison.as_dict(), **attention}


def _print_json(content: object) -> None:
    sys.stdout.write(plain_json(content, indent=1, ensure_ascii=False) + "\n")


def inspect(
    bundle: ABundle,
    precision: Annotated[str | None, typer.Option(help="Which of its graphs.", show_default="the first")] = None,
    as_json: Json = False,
) -> None:
    """Show what a graph is made of, what onnxruntime makes of it here, and where its time goes."""
    from maskedge_export.bundles.inspection import inspect_graph

    inspection = inspect_graph(Bundle.open(bundle), precision)
    if as_json:
        _print_json({**asdict(inspection), "fused": inspection.fused})
    else:
        Console().print(inspection_tables(inspection), highlight=False)


def push(
    bundle: ABundle,
    repo_id: Annotated[str, typer.Argument(help="The repository on the Hub: user/name or organization/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="The branch; made where there is none.")] = None,
    message: Annotated[str | None, typer.Option(help="The commit's message.")] = None,
) -> None:
    """Put a bundle on the Hugging Face Hub, in one commit. HF_TOKEN or `hf auth login` says who you are."""
    from maskedge_export.bundles.push import push_bundle

    opened = Bundle.open(bundle)
    with Steps() as steps:
        steps.begin(f"Uploading {opened.manifest.name}")
        url = push_bundle(opened, repo_id, private=private, revision=revision, message=message)
    Console().print(url, highlight=False, soft_wrap=True)


def compare(
    candidate: Annotated[Path, typer.Argument(help="A bundle.")],
    reference: Annotated[Path, typer.Argument(help="The bundle it is compared with.")],
    text: Annotated[list[Path], typer.Option(help="Text or Parquet to compare on; may be repeated.")],
) -> None:
    """Compare two bundles of one vocabulary on the same masked text. Exit code 1 where their sources differ."""
    from maskedge_export.bundles.compare import compare_bundles

    first, second = Bundle.open(candidate), Bundle.open(reference)
    with Steps() as steps:
        steps.begin("Comparing the bundles")
        comparisons = compare_bundles(first, second, text)
    console = Console()
    console.print(proof_table({name: comparison.as_dict() for name, comparison in comparisons.items()}))
    if first.manifest.source["fingerprint"] != second.manifest.source["fingerprint"]:
        Console(stderr=True).print("The bundles come from different checkpoints.", style="red")
        raise typer.Exit(FAILURE)
    console.print("Both come from the same checkpoint.")
