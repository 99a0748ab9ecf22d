"""Checkpoints of transformers 5, for contenders that need transformers 4."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers.contender import LeftOutError, Model

__all__ = ["readable_checkpoint"]


def readable_checkpoint(model: Model) -> Path:
    """The checkpoint with its configurations in transformers 4's words; made where it is not there yet.

    Raises LeftOutError.
    """
    directory = model.directory / "checkpoint"
    directory.mkdir(exist_ok=True)
    tokenizer = json.loads((model.checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))
    written = {
        "config.json": model.config | rotary(model.config),
        "tokenizer_config.json": tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"},
    }
    for file in model.checkpoint.iterdir():
        path = directory / file.name
        if file.name in written:
            path.write_text(json.dumps(written[file.name]), encoding="utf-8")
        elif not path.exists():
            path.symlink_to(file.resolve())
    return directory


def rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers 5 writes as `rope_parameters` by kinds of layers."""
    if "rope_parameters" not in config:
        return {}
    if config["model_type"] != "modernbert" or set(config["layer_types"]) != {"full_attention"}:
        raise LeftOutError("it needs transformers 4, which reads the rotary embeddings of this checkpoint otherwise")
    bases = {kind: parameters["rope_theta"] for kind, parameters in config["rope_parameters"].items()}
    return {
        "global_rope_theta": bases["full_attention"],
        "local_rope_theta": bases["sliding_attention"],
        "global_attn_every_n_layers": 1,
    }
