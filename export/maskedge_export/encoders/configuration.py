"""A checkpoint's config.json: what of it is set aside, and what of it is refused."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from maskedge_export.encoders.options import SETTINGS, names
from maskedge_export.errors import CheckpointError, UnsupportedModelError, one_line

__all__ = ["check_config", "load_config"]

ABSOLUTE_POSITIONS = names(
    """
    albert bert big_bird camembert data2vec-text electra ernie ibert megatron-bert mra nystromformer roberta
    roberta-prelayernorm roc_bert xlm-roberta xlm-roberta-xl xmod yoso
    """
)
"""Model types that had a choice of position embeddings until transformers 5, which reads no `position_embedding_type`
of theirs and adds the absolute ones whatever it says."""

RELATIVE_POSITIONS = frozenset({"relative_key", "relative_key_query"})


def check_config(path: Path) -> None:
    """Refuse what cannot be exported by its config.json alone, before any weight is read.

    Raises CheckpointError where the file is no configuration, and UnsupportedModelError for an architecture that is no
    masked language model of the installed transformers, or an option that it does not do as the model was trained.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED_LMS

    file = path / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except (ValueError, TypeError, LookupError) as error:
        raise CheckpointError(f"{file} is no JSON object with a model_type ({error!r})") from error
    if config.get("auto_map"):
        raise UnsupportedModelError(
            f"{file} names code of the checkpoint's own (auto_map), which is never run; if transformers itself has "
            f"the architecture, here {model_type!r}, remove auto_map from a copy of the checkpoint and export that"
        )
    if model_type not in MASKED_LMS:
        raise UnsupportedModelError(
            f"model type {model_type!r} of {file} is no masked language model that the installed transformers knows; "
            f"it knows: {', '.join(sorted(MASKED_LMS))}"
        )
    for reason in _done_otherwise(config):
        raise UnsupportedModelError(f"{file} has {reason}")


def _done_otherwise(config: Mapping[str, Any]) -> Iterator[str]:
    """Options by which a model was trained that the installed transformers answers without, and how it would answer."""
    from transformers import CONFIG_MAPPING, __version__

    model_type, installed = config["model_type"], f"transformers {__version__}"
    declared = {field.name for field in fields(CONFIG_MAPPING[model_type])}
    positions = config.get("position_embedding_type", "absolute")
    if model_type in ABSOLUTE_POSITIONS and positions != "absolute":
        yield (
            f"position_embedding_type {positions!r}, of which {installed} knows nothing: it would answer as if "
            "positions were absolute, and not as the model was trained; only 'absolute' can be exported"
        )
    if model_type == "esm" and positions in RELATIVE_POSITIONS:
        yield (
            f"position_embedding_type {positions!r}, of which {installed} knows nothing: it would answer as if the "
            "order of tokens did not matter; only 'absolute' and 'rotary' can be exported"
        )
    if config.get("pruned_heads"):
        yield (
            f"pruned_heads {config['pruned_heads']!r}, which {installed} can no longer leave out of its layers; export "
            "the checkpoint from before they were pruned"
        )
    if config.get("add_cross_attention") and "add_cross_attention" in declared:
        yield (
            "add_cross_attention true: its layers also look at another model's output, which a masked language model "
            "is not given, so it would not answer as it was trained"
        )
    if config.get("is_causal") and "is_causal" not in declared:
        yield (
            f"is_causal true, by which {installed} would let no token see those after it; if the model was trained so, "
            "say is_decoder, else remove is_causal from a copy of the checkpoint"
        )


def load_config(path: Path) -> Any:
    """A checkpoint's transformers configuration, without the SETTINGS of the machine it comes from.

    Raises CheckpointError for values that its class does not take.
    """
    from transformers import CONFIG_MAPPING, PretrainedConfig

    try:
        content, _ = PretrainedConfig.get_config_dict(path, local_files_only=True)
        return CONFIG_MAPPING[content["model_type"]].from_dict(_without_settings(content))
    except Exception as error:  # each configuration checks in ways of its own
        raise CheckpointError(
            f"transformers cannot load {path} as a masked language model: {one_line(error)}"
        ) from error


def _without_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_settings(value) if name.endswith("_config") and isinstance(value, dict) else value
        for name, value in content.items()
        if name not in SETTINGS
    }
