"""Checkpoints of transformers 5 for contenders that need transformers 4."""

import json
from pathlib import Path

from peers.program import LeftOutError, Model

__all__ = ["readable_checkpoint", "refuse_new_rotary"]


def refuse_new_rotary(model: Model) -> None:
    """Raises LeftOutError where transformers 4 would read the base of rotary embeddings elsewhere, and find another."""
    if "rope_parameters" in model.config:
        raise LeftOutError("it needs transformers 4, which misreads the rotary embeddings of this checkpoint")


def readable_checkpoint(model: Model) -> Path:
    """The checkpoint, its tokenizer's class called as transformers 4 calls it; made where it is not there yet.

    Raises LeftOutError.
    """
    refuse_new_rotary(model)
    directory = model.directory / "checkpoint"
    directory.mkdir(exist_ok=True)
    for file in model.checkpoint.iterdir():
        if not (directory / file.name).exists():
            (directory / file.name).symlink_to(file.resolve())
    config = json.loads((model.checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))
    (directory / "tokenizer_config.json").unlink()
    renamed = json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"})
    (directory / "tokenizer_config.json").write_text(renamed, encoding="utf-8")
    return directory
