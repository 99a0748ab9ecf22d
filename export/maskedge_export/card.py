"""The bundle's model card: README.md as the Hub reads it, with the proof's figures."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from maskedge.bundle import GraphEntry
from maskedge_export.checkpoint import Checkpoint
from maskedge_export.verification import Limits

__all__ = ["write_card"]

BODY = """
# {name}

A masked language model for plain CPUs, made from `{source}` ({model_type}) by maskedge: it needs numpy, onnxruntime and
tokenizers, not PyTorch.

```python
from maskedge import Predictor

predictor = Predictor.load("path/to/this/directory")
for candidate in predictor("Paris is the {mask} of France."):
    print(f"{{candidate['score']:.3f}} {{candidate['token_str']}}")
```

## How it was proved

Each graph was compared with what it was made from, on masked tokens of {text}.

{table}

KL divergence and log-probabilities are in nats; perplexity is the masked perplexity, exp(-mean log p(target)).
{verdict}
{source_card}"""

COLUMNS = (
    "Graph", "Compared with", "Cells", "Max log-prob. difference", "Mean KL", "99 % KL", "Top-1 agreement",
    "Perplexity", "Change",
)  # fmt: skip


def write_card(path: Path, name: str, source: Checkpoint, graphs: Mapping[str, GraphEntry], limits: Limits) -> None:
    """Write the card. What the checkpoint's own card says of licence, language and text goes along."""
    own = ModelCard.load(source.card, ignore_metadata_errors=True) if source.card.is_file() else None
    data = ModelCardData(
        license=getattr(own.data, "license", None) if own else None,
        language=getattr(own.data, "language", None) if own else None,
        library_name="maskedge",
        pipeline_tag="fill-mask",
        tags=["onnx", "fill-mask", "masked-lm", *sorted(graphs)],
        base_model=source.name if re.fullmatch(r"[\w.-]+/[\w.-]+", source.name) else None,
        ignore_metadata_errors=True,
    )
    body = BODY.format(
        name=name,
        source=source.name,
        model_type=source.model_type,
        mask=source.tokenizer.mask_token,
        text=_verification_text(graphs),
        table=_table(graphs),
        verdict=_verdict(graphs, limits),
        source_card=f"\n## The source model's card\n\n{_demoted(own.text)}\n" if own else "",
    )
    path.write_text(f"---\n{data.to_yaml()}\n---\n{body}", encoding="utf-8")


def _verification_text(graphs: Mapping[str, GraphEntry]) -> str:
    if all(entry.verification["held_out"] for entry in graphs.values()):
        return "text that was not used to calibrate it"
    return "the few texts that it was calibrated on: there were no others"


def _table(graphs: Mapping[str, GraphEntry]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(name, entry.verification) for name, entry in graphs.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        figures["reference"],
        str(figures["cells"]),
        f"{figures['max_logprob_difference']:.2g}",
        f"{figures['mean_kl']:.2g}",
        f"{figures['p99_kl']:.2g}",
        f"{figures['top1_agreement']:.1%}",
        f"{figures['reference_perplexity']:.2f} → {figures['candidate_perplexity']:.2f}",
        f"{figures['perplexity_change']:+.2%}",
    )


def _verdict(graphs: Mapping[str, GraphEntry], limits: Limits) -> str:
    failures = [failure for entry in graphs.values() for failure in entry.verification["failures"]]
    if failures:
        return "\n**This bundle failed its gate and was written all the same:** " + "; ".join(failures) + ".\n"
    return (
        f"\nThe gate: fp32 within {limits.fp32_logprob_difference:g} nats of PyTorch at the target and the "
        f"five best tokens; int8 with a mean KL of at most "
        f"{limits.int8_mean_kl:g}, top-1 agreement of at least {limits.int8_top1_agreement:.0%}, and a perplexity at "
        f"most {limits.int8_perplexity_change:.0%} higher.\n"
    )


def _demoted(text: str) -> str:
    """Headings one level down, so that the source's card stands below ours."""
    return re.sub(r"^(#+ )", r"#\1", text.strip(), flags=re.MULTILINE)
