"""transformers itself: the pipeline as its page shows it, and its network on sorted batches in fp32 and in bf16.

- https://huggingface.co/docs/transformers/tasks/masked_language_modeling ("Inference"): `pipeline("fill-mask", ...)`
- https://huggingface.co/docs/transformers/main_classes/pipelines ("Pipeline batching"): batches where lengths are alike
- https://huggingface.co/docs/transformers/perf_infer_cpu: bf16 on CPUs with AVX512-BF16 or AMX
"""

from functools import partial
from typing import Any

from peers.batches import Batch, Float32Array, SortedBatches
from peers.contender import FILL, SCORE, Contender, Model, Variants

__all__ = ["load", "prepare", "variants"]

PIPELINE = "pipeline, fp32"
DTYPES = {"sorted batches, fp32": "float32", "sorted batches, bf16": "bfloat16"}


def prepare(model: Model) -> None:
    """Nothing is made: transformers loads checkpoints."""


def variants(model: Model) -> Variants:
    """fp32 says what is right, also of sentences."""
    fp32, bf16 = DTYPES
    return {PIPELINE: FILL, fp32: (*FILL, *SCORE), bf16: FILL}


def load(model: Model, variant: str) -> Contender:
    """The pipeline, or the network on batches."""
    import torch

    torch.set_num_threads(model.threads)
    if variant == PIPELINE:
        return Pipeline(model)
    from peers.networks import network

    return SortedBatches(model, partial(logits, network(model.checkpoint, getattr(torch, DTYPES[variant]))))


class Pipeline:
    """`pipeline("fill-mask")`, which is given all texts and takes one at a time by itself."""

    def __init__(self, model: Model) -> None:
        from transformers import pipeline

        self.pipeline: Any = pipeline("fill-mask", model=str(model.checkpoint), device="cpu")

    def fill(self, texts: list[str]) -> list[int]:
        """The best token of each text."""
        return [answers[0]["token"] for answers in self.pipeline(texts)] if len(texts) > 1 else self.fill_one(texts[0])

    def fill_one(self, text: str) -> list[int]:
        """As a user asks who has one text."""
        return [self.pipeline(text)[0]["token"]]


def logits(network: Any, batch: Batch) -> Float32Array:
    """Those at the masks, of the network's at all tokens."""
    import torch
    from peers.networks import as_floats, inputs_of

    inputs = inputs_of(batch)
    positions = inputs.pop("positions")
    with torch.inference_mode():
        return as_floats(network(**inputs).logits[torch.arange(len(positions)), positions])
