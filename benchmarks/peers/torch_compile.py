"""torch.compile with PT2E's int8 for x86, the head at the mask.

https://docs.pytorch.org/ao/stable/tutorials_source/pt2e_quant_x86_inductor.html: export, `X86InductorQuantizer`,
`is_dynamic=True` as it advises for BERT, TORCHINDUCTOR_FREEZING=1, `torch.compile`.
"""

import os
from functools import partial
from typing import Any

from peers.batches import Batch, Float32Array, SortedBatches
from peers.contender import FILL, Contender, LeftOutError, Model, Variants

__all__ = ["load", "prepare", "variants"]


def prepare(model: Model) -> None:
    """Nothing is kept: what is quantized is compiled where it runs."""
    import platform

    if platform.machine() != "x86_64":
        raise LeftOutError("the quantizer is for x86")


def variants(model: Model) -> Variants:
    """int8."""
    return {"int8, PT2E dynamic, head at the mask": FILL}


def load(model: Model, variant: str) -> Contender:
    """Quantized and compiled for any number of rows of any length."""
    os.environ["TORCHINDUCTOR_FREEZING"] = "1"
    import torch

    torch.set_num_threads(model.threads)
    with torch.no_grad():
        compiled = torch.compile(quantized(model), dynamic=True)
    return SortedBatches(model, partial(logits, compiled))


def quantized(model: Model) -> Any:
    """The exported network with int8 products."""
    import torch
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from peers.networks import MaskLogits, network, traced_inputs
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    rows, length = torch.export.Dim("rows", min=1, max=1024), torch.export.Dim("length", min=1, max=512)
    shapes = {"input_ids": {0: rows, 1: length}, "attention_mask": {0: rows, 1: length}, "positions": {0: rows}}
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_dynamic=True))
    inputs = tuple(traced_inputs(model).values())
    with torch.no_grad():
        exported = torch.export.export(
            MaskLogits(network(model.checkpoint)), inputs, dynamic_shapes=shapes, strict=True
        )
        prepared = prepare_pt2e(exported.module(), quantizer)
        prepared(*inputs)
        return convert_pt2e(prepared)


def logits(compiled: Any, batch: Batch) -> Float32Array:
    """Those at the masks."""
    import torch
    from peers.networks import as_floats, inputs_of

    with torch.no_grad():
        return as_floats(compiled(*inputs_of(batch).values()))
