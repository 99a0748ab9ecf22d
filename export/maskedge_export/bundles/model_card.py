"""The bundle's model card: README.md as the Hub reads it, with the proof's figures."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import ModelCard, ModelCardData

from maskedge.bundle.format import GraphEntry
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.errors import CheckpointError
from maskedge_export.evaluation.gate import Limits
from maskedge_export.evaluation.metric_labels import METRIC_LABELS

__all__ = ["VerifiedOn", "write_model_card"]

VerifiedOn = Literal["held-out text", "calibration text", "random tokens"]
"""What a graph was compared on, as its verification record says it."""

VERIFIED_ON: dict[VerifiedOn, str] = {
    "held-out text": "masked tokens of text that was not used to calibrate it",
    "calibration text": "masked tokens of the few texts that it was calibrated on: there were no others",
    "random tokens": "random tokens, from the shortest text to the longest: no text was given to take a perplexity of",
}

BODY = """
# {name}

A masked language model for plain CPUs, made from {source} ({model_type}) by maskedge: it needs numpy, onnxruntime and
tokenizers, not PyTorch.

```python
from maskedge import Predictor

predictor = Predictor.load("path/to/this/directory")
for candidate in predictor({example}):
    print(f"{{candidate['score']:.3f}} {{candidate['token_str']}}")
```
{standard}{notes}
## How it was proved

Each graph was compared with what it was made from, on {text}.

{table}

In parentheses are 95 % intervals. KL divergence and log-probabilities are in nats; perplexity is the masked perplexity,
exp(-mean log p(target)).
{attention}{verdict}
{source_card}"""

STANDARD = """
For other programs there are standard graphs, with padded batches and an attention mask as inputs and all logits as
output: transformers.js loads this directory as it is, Optimum with
`ORTModelForMaskedLM.from_pretrained(directory, subfolder="onnx", file_name="model.onnx")`.
"""


def write_model_card(
    path: Path,
    name: str,
    source: Checkpoint,
    graphs: Mapping[str, GraphEntry],
    standard: Mapping[str, GraphEntry],
    attention: Mapping[str, GraphEntry],
) -> None:
    """Write the card. What the checkpoint's own card says of licence, language and text goes along.

    Raises CheckpointError where that card's metadata cannot be read.
    """
    own, own_text = _own_card(source.card)
    data = ModelCardData(
        **{key: own[key] for key in ("license", "license_name", "license_link", "language") if key in own},
        library_name="maskedge",
        pipeline_tag="fill-mask",
        tags=["onnx", "fill-mask", "masked-lm", *sorted(graphs), *(["transformers.js", "optimum"] if standard else [])],
        base_model=source.name if re.fullmatch(r"[\w.-]+/[\w.-]+", source.name, re.ASCII) else None,
        ignore_metadata_errors=True,
    )
    proved = [*graphs.values(), *standard.values()]
    body = BODY.format(
        name=_plain(name),
        source=_code(source.name),
        model_type=_plain(source.model_type),
        example=json.dumps(f"Paris is the {source.tokenizer.mask_token} of France.", ensure_ascii=False),
        standard=STANDARD if standard else "",
        notes=_notes(source.notes),
        text=VERIFIED_ON[proved[0].verification["text"]],
        table=_table({**graphs, **{Path(entry.file).name: entry for entry in standard.values()}}),
        attention=_attention(attention),
        verdict=_verdict([*proved, *attention.values()], graphs),
        source_card=f"\n## The source model's card\n\n{_demoted(own_text)}\n" if own_text else "",
    )
    path.write_text(f"---\n{data.to_yaml()}\n---\n{body}", encoding="utf-8")


def _attention(graphs: Mapping[str, GraphEntry]) -> str:
    """How near the attention graphs are to PyTorch."""
    proofs = {name: entry.verification for name, entry in graphs.items()}
    return "".join(
        f"\nAttention probabilities of {name} differ from PyTorch's by at most {proof['max_difference']:.2g}, "
        f"{proof['mean_difference']:.2g} in the mean; `Predictor.attend` gives them.\n"
        for name, proof in proofs.items()
    )


def _notes(notes: Sequence[str]) -> str:
    """What a reader should know of how the checkpoint was read."""
    return "\nOf its checkpoint:\n\n" + "".join(f"- {_plain(note)}\n" for note in notes) if notes else ""


def _own_card(path: Path) -> tuple[dict[str, Any], str]:
    """Metadata and text of the checkpoint's card; empty where it has none."""
    if not path.is_file():
        return {}, ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not text.startswith("---"):  # the parser would say so on standard error
            return {}, text
        card = ModelCard(text, ignore_metadata_errors=True)
        return card.data.to_dict(), card.text  # type: ignore[no-untyped-call]
    except Exception as error:  # it and its YAML parser each raise their own
        raise CheckpointError(
            f"the metadata of {path} cannot be read: {error}; correct it, or remove the file"
        ) from error


def _plain(text: str) -> str:
    """A name as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A name as a Markdown code span, whatever it holds."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if "`" in text else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _table(graphs: Mapping[str, GraphEntry]) -> str:
    """A column for each graph, a row for each figure."""
    columns = [entry.verification for entry in graphs.values()]
    rows = [("", *graphs), ("---", *("--:" for _ in columns))]
    rows += [("Compared with", *(str(metrics["reference"]) for metrics in columns))]
    rows += [(label, *(show(metrics) for metrics in columns)) for label, show in METRIC_LABELS.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _verdict(proved: list[GraphEntry], graphs: Mapping[str, GraphEntry]) -> str:
    failures = [failure for entry in proved for failure in entry.verification["failures"]]
    if failures:
        return "\n**This bundle failed its gate and was written all the same:** " + "; ".join(failures) + ".\n"
    limits = {name: Limits(**entry.verification["limits"]).describe() for name, entry in graphs.items()}
    return "\nIt is within its limits:\n\n" + "".join(f"- {name}: {asked}\n" for name, asked in limits.items())


def _demoted(text: str) -> str:
    """Headings one level down, so that the source's card stands below ours."""
    return re.sub(r"^(#+ )", r"#\1", text.strip(), flags=re.MULTILINE)
