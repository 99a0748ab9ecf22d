"""onnxruntime as somebody would use it who knows it: the head at the mask only, attention fused, dynamic int8.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html ("Transformer-based models"): the
transformer optimization tool first, then `quantize_dynamic`; weights of 8 bits by channel. The graph is that of
torch.onnx.export in the environment that Optimum needs: the tool knows the attention of transformers 4, not of 5.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from peers.batches import Batch, Float32Array, SortedBatches
from peers.contender import FILL, Contender, Model, Variants
from peers.transformers_4 import readable_checkpoint

__all__ = ["load", "prepare", "variants"]

FILES = {
    "int8, dynamic, head at the mask": "int8.onnx",
    "int8, dynamic, fused, head at the mask": "fused-int8.onnx",
}


def prepare(model: Model) -> None:
    """Export, fuse, quantize."""
    plain, fused = (model.directory / name for name in FILES.values())
    if fused.is_file():
        return
    with tempfile.TemporaryDirectory() as scratch:
        exported, optimized = (Path(scratch) / name for name in ("exported.onnx", "fused.onnx"))
        export(model, exported)
        fuse(model, exported, optimized)
        quantize(exported, plain)
        quantize(optimized, fused)


def export(model: Model, path: Path) -> None:
    """The network with its head at the mask."""
    import torch
    from peers.networks import MaskLogits, network, traced_inputs

    inputs = traced_inputs(model)
    rows, lengths = {0: "rows"}, {0: "rows", 1: "length"}
    axes = {"input_ids": lengths, "attention_mask": lengths, "positions": rows, "logits": rows}
    torch.onnx.export(
        MaskLogits(network(readable_checkpoint(model), attn_implementation="eager")),
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


def fuse(model: Model, source: Path, path: Path) -> None:
    """Attention, GELU and layer normalization as nodes of their own."""
    from onnxruntime.transformers.optimizer import optimize_model

    heads, width = model.config["num_attention_heads"], model.config["hidden_size"]
    optimize_model(str(source), "bert", num_heads=heads, hidden_size=width, opt_level=0).save_model_to_file(str(path))


def quantize(source: Path, path: Path) -> None:
    """Weights by channel; ranges of activations as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    unknown = {"DefaultTensorType": onnx.TensorProto.FLOAT}  # what fused nodes return
    quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8, extra_options=unknown)


def variants(model: Model) -> Variants:
    """With the fusions, and without."""
    return dict.fromkeys(FILES, FILL)


def load(model: Model, variant: str) -> Contender:
    """A session on all threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = model.threads
    path = model.directory / FILES[variant]
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return SortedBatches(model, partial(logits, session))


def logits(session: Any, batch: Batch) -> Float32Array:
    """Those at the masks."""
    names = ("input_ids", "attention_mask", "positions")
    found: Float32Array = session.run(["logits"], {name: getattr(batch, name) for name in names})[0]
    return found
