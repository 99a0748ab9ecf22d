"""transformers' networks as modules that contenders run, trace or export."""

from pathlib import Path
from typing import Any

import torch
from peers.batches import Batch, Float32Array, example_ids
from peers.contender import LeftOutError, Model
from transformers import AutoModelForMaskedLM

__all__ = ["AllLogits", "MaskLogits", "head_of", "inputs_of", "network", "traced_inputs"]


def network(checkpoint: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """The checkpoint's network, for inference."""
    return AutoModelForMaskedLM.from_pretrained(checkpoint, dtype=dtype, **options).eval()


def head_of(network: Any) -> torch.nn.Module:
    """The module between the encoder's hidden states and the logits."""
    if hasattr(network, "cls"):
        return network.cls  # BERT and what is like it
    if hasattr(network, "head") and hasattr(network, "decoder"):
        return torch.nn.Sequential(network.head, network.decoder)  # ModernBERT
    raise LeftOutError(f"the head of {type(network).__name__} is not known here")


class AllLogits(torch.nn.Module):
    """The network as it is: logits at every token."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[rows, length] twice -> [rows, length, vocabulary]."""
        return self.network(input_ids=input_ids, attention_mask=attention_mask).logits


class MaskLogits(torch.nn.Module):
    """The encoder, and its head at each row's mask only."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.encoder, self.head = network.base_model, head_of(network)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """[rows, length] twice, [rows] -> [rows, vocabulary]."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        at = positions.reshape(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
        return self.head(hidden.gather(1, at)[:, 0])


def inputs_of(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch as `MaskLogits` takes it."""
    names = ("input_ids", "attention_mask", "positions")
    return {name: torch.from_numpy(getattr(batch, name)) for name in names}


def traced_inputs(model: Model) -> dict[str, torch.Tensor]:
    """Inputs to trace `MaskLogits` with."""
    ids = torch.from_numpy(example_ids(model))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "positions": torch.tensor([3, 5])}


def as_floats(logits: torch.Tensor) -> Float32Array:
    """Logits of any type as numpy's."""
    return logits.float().numpy()
