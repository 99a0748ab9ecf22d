"""zentorch, AMD's backend of torch.compile, with int8 of torchao, the head at the mask.

- https://docs.amd.com/r/en-US/57300-ZenDNN-user-guide ("Recommendations"): `torch.compile(model, backend="zentorch")`
  under `torch.no_grad()`
- the same, "Dynamically Quantized Models": `Int8DynamicActivationInt8WeightConfig(version=2)`, symmetric, in bf16
"""

from functools import partial
from pathlib import Path
from typing import Any

from peers.batches import SortedBatches
from peers.contender import FILL, Contender, LeftOutError, Model, Variants
from peers.torch_compile import logits

__all__ = ["load", "prepare", "variants"]


def prepare(model: Model) -> None:
    """Nothing is kept: what is quantized is compiled where it runs."""
    if "AuthenticAMD" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        raise LeftOutError("zentorch is for AMD's CPUs")


def variants(model: Model) -> Variants:
    """int8."""
    return {"int8, dynamic, head at the mask": FILL}


def load(model: Model, variant: str) -> Contender:
    """Quantized and compiled for any number of rows of any length."""
    import torch
    import zentorch  # noqa: F401  # it registers its backend

    torch.set_num_threads(model.threads)
    with torch.no_grad():
        compiled = torch.compile(quantized(model), backend="zentorch", dynamic=True)
    return SortedBatches(model, partial(logits, compiled))


def quantized(model: Model) -> Any:
    """The network in bf16 with int8 products."""
    import torch
    from peers.networks import MaskLogits, network
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.quantization.quant_primitives import MappingType

    made = MaskLogits(network(model.checkpoint, torch.bfloat16))
    quantize_(made, Int8DynamicActivationInt8WeightConfig(version=2, act_mapping_type=MappingType.SYMMETRIC))
    return made
