"""The model card of a trained checkpoint: what it is, how it was trained, how well it predicts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.encoders.pretrained import TrainedModel
from maskedge_export.evaluation.perplexity import Evaluation
from maskedge_export.recipe import Recipe

__all__ = ["training_seconds", "write_model_card"]

BODY = """
# {name}

A masked language model of the {architecture} architecture: {layers} layers of {width} units, {heads} heads,
{weights:.1f} million weights, a vocabulary of {vocabulary:,} entries. transformers' `AutoModelForMaskedLM` loads it.

## Training

{origin}, {steps:,} steps of {batch:,} tokens ({million:.1f} million) in {hours:.1f} hours, in rows of {lengths}, with
{rates} of the tokens masked, by {optimizer}.
{held_out}
The text's licence, and what the model should not be used for, are for its maker to add here.
"""


def write_model_card(
    path: Path,
    name: str,
    model: TrainedModel,
    recipe: Recipe,
    entries: Sequence[dict[str, Any]],
    held_out: Evaluation | None,
    start: Checkpoint | None,
) -> None:
    """Write the card. Of a model trained on from another, licence and language go along."""
    own = ModelCard.load(start.card, ignore_metadata_errors=True).data if start and start.card.is_file() else None
    data = ModelCardData(
        license=getattr(own, "license", None),
        language=getattr(own, "language", None),
        library_name="transformers",
        pipeline_tag="fill-mask",
        ignore_metadata_errors=True,
    )
    config, schedule = model.encoder.config, recipe.schedule
    body = BODY.format(
        name=name,
        architecture=model.config.model_type,
        layers=config.num_layers,
        width=config.hidden_size,
        heads=config.num_heads,
        weights=sum(weight.numel() for weight in model.encoder.parameters()) / 1e6,
        vocabulary=config.vocab_size,
        origin=_from(start) if start else "From random weights",
        steps=schedule.steps,
        batch=recipe.run.batch_tokens,
        million=schedule.steps * recipe.run.batch_tokens / 1e6,
        hours=training_seconds(recipe, entries) / 3600,
        lengths=_listed(f"{length} tokens" for length in schedule.lengths),
        rates=_listed(f"{rate:.0%}" for rate in schedule.mask_rates or (recipe.masking.rate,)),
        optimizer={"muon": "Muon and AdamW", "adamw": "AdamW"}[recipe.optimizer.name],
        held_out=_held_out(held_out),
    )
    path.write_text(f"---\n{data.to_yaml()}\n---\n{body}", encoding="utf-8")


def training_seconds(recipe: Recipe, entries: Iterable[dict[str, Any]]) -> float:
    """How long the steps of a log took, whatever stops there were between them."""
    seconds, step = 0.0, 0
    for entry in entries:
        seconds += (entry["step"] - step) * recipe.run.batch_tokens / entry["tokens_per_second"]
        step = entry["step"]
    return seconds


def _from(start: Checkpoint) -> str:
    return f"From `{start.name}`, with a new head" if start.lacks_head else f"From `{start.name}`"


def _listed(items: Iterable[str]) -> str:
    return ", then ".join(dict.fromkeys(items))


def _held_out(figures: Evaluation | None) -> str:
    if figures is None:
        return ""
    return (
        f"On {figures.masked_tokens:,} masked tokens of text kept out of training: masked perplexity "
        f"{figures.perplexity:.1f}, top-1 accuracy {figures.accuracy:.1%}.\n"
    )
