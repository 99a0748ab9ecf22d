"""Optimum's onnxruntime: the network as it exports it, and its dynamic int8, on sorted batches.

- https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/models: `ORTModelForMaskedLM`, `export=True`
- https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/quantization: `ORTQuantizer` with the configuration
  of this CPU, `is_static=False`
"""

from functools import partial
from typing import Any

from peers.batches import Batch, Float32Array, SortedBatches
from peers.contender import FILL, Contender, Model, Variants
from peers.transformers_4 import readable_checkpoint

__all__ = ["load", "prepare", "variants"]

FILES = {"fp32": "model.onnx", "int8, dynamic": "model_quantized.onnx"}


def prepare(model: Model) -> None:
    """Export, and quantize what was exported."""
    from optimum.onnxruntime import ORTModelForMaskedLM, ORTQuantizer

    if (model.directory / "model_quantized.onnx").is_file():
        return
    ORTModelForMaskedLM.from_pretrained(readable_checkpoint(model), export=True).save_pretrained(model.directory)
    quantizer = ORTQuantizer.from_pretrained(model.directory, file_name=FILES["fp32"])
    quantizer.quantize(save_dir=model.directory, quantization_config=configuration())


def configuration() -> Any:
    """The one that the guide names for this CPU."""
    import platform
    from pathlib import Path

    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    if platform.machine() == "aarch64":
        return AutoQuantizationConfig.arm64(is_static=False, per_channel=False)
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = next((name for name in ("avx512_vnni", "avx512f") if name in flags), "avx2").removesuffix("f")
    return getattr(AutoQuantizationConfig, name)(is_static=False, per_channel=False)


def variants(model: Model) -> Variants:
    """fp32 and int8."""
    return dict.fromkeys(FILES, FILL)


def load(model: Model, variant: str) -> Contender:
    """A session on all threads, as the library makes it."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForMaskedLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = model.threads
    network = ORTModelForMaskedLM.from_pretrained(model.directory, file_name=FILES[variant], session_options=options)
    return SortedBatches(model, partial(logits, network))


def logits(network: Any, batch: Batch) -> Float32Array:
    """Those at the masks, of the network's at all tokens."""
    import numpy as np

    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    inputs |= {name: np.zeros_like(batch.input_ids) for name in network.input_names if name == "token_type_ids"}
    found: Float32Array = network(**inputs).logits[np.arange(len(batch.positions)), batch.positions]
    return found
