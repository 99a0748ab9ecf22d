"""CTranslate2's int8 encoder, and PyTorch's head at the mask: the library has no heads of masked language models.

- https://opennmt.net/CTranslate2/guides/transformers.html ("BERT"): `Encoder.forward_batch`, PyTorch for the rest
- https://opennmt.net/CTranslate2/parallel.html: as many batches at once as threads, each on one
- https://opennmt.net/CTranslate2/quantization.html: `int8`
"""

from collections.abc import Callable

from peers.batches import Batch, Float32Array, SortedBatches
from peers.contender import FILL, Contender, LeftOutError, Model, Variants
from peers.transformers_4 import readable_checkpoint

__all__ = ["load", "prepare", "variants"]

CONVERTED = ("bert", "distilbert", "roberta", "xlm-roberta")
"""Types of models."""


def prepare(model: Model) -> None:
    """Convert the encoder."""
    from ctranslate2.converters import TransformersConverter

    if (model.directory / "encoder").is_dir():
        return
    if model.config["model_type"] not in CONVERTED:
        raise LeftOutError(f"CTranslate2 does not convert {model.config['model_type']}")
    TransformersConverter(str(readable_checkpoint(model))).convert(
        str(model.directory / "encoder"), quantization="int8"
    )


def variants(model: Model) -> Variants:
    """int8."""
    return {"int8, torch head at the mask": FILL}


def load(model: Model, variant: str) -> Contender:
    """A batch on each thread; of one row alone, all threads."""
    return Encoder(model)


class Encoder:
    """The encoder for many rows, and for one."""

    def __init__(self, model: Model) -> None:
        import torch
        from peers.networks import head_of, network

        self.model, self.head = model, head_of(network(model.checkpoint))
        torch.set_num_threads(1)
        self.made: dict[int, SortedBatches] = {}

    def fill(self, texts: list[str]) -> list[int]:
        """The best token at the mask of each text."""
        return self.batches(self.model.threads if len(texts) > 1 else 1).fill(texts)

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text: of many copies, also where it is one text."""
        return self.batches(self.model.threads).score(texts)

    def batches(self, at_once: int) -> SortedBatches:
        """An encoder that runs so many batches at once, made when it is first asked for."""
        if at_once not in self.made:
            self.made[at_once] = SortedBatches(self.model, self.logits(at_once), at_once=at_once)
        return self.made[at_once]

    def logits(self, at_once: int) -> Callable[[Batch], Float32Array]:
        """The logits at the masks."""
        import ctranslate2
        import numpy as np
        import torch

        threads = {"inter_threads": at_once, "intra_threads": self.model.threads // at_once}
        encoder = ctranslate2.Encoder(str(self.model.directory / "encoder"), compute_type="int8", **threads)

        def run(batch: Batch) -> Float32Array:
            ids = ctranslate2.StorageView.from_array(batch.input_ids.astype(np.int32))
            lengths = ctranslate2.StorageView.from_array(batch.attention_mask.sum(axis=1, dtype=np.int32))
            hidden = np.asarray(encoder.forward_batch(ids, lengths).last_hidden_state)
            with torch.inference_mode():
                found: Float32Array = self.head(
                    torch.from_numpy(hidden[np.arange(len(batch.positions)), batch.positions])
                ).numpy()
            return found

        return run
