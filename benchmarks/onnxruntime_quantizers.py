"""onnxruntime's own quantizers on our fp32 graph: what ours are compared with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.matmuls import weight_matmuls

__all__ = ["onnxruntime_variants"]

PERCENTILE = 99.99

Write = Callable[[Path], None]
"""Writes a graph that ends in logits."""


@dataclass
class Cellwise(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches as onnxruntime reads them."""

    batches: list[MaskedBatch]

    def __post_init__(self) -> None:
        self.remaining = iter(self.batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.remaining, None)
        return batch if batch is None else {"input_ids": batch.input_ids, "mask_positions": batch.mask_positions}


def onnxruntime_variants(plain: ir.Model, calibration: list[MaskedBatch]) -> Iterator[tuple[str, Write]]:
    """onnxruntime's own quantizers on the fp32 graph, with the vocabulary head quantized and without."""
    for kept, suffix in ((False, ""), (True, ", head in fp32")):
        yield f"onnxruntime dynamic{suffix}", lambda path, kept=kept: dynamic(plain, path, kept)  # type: ignore[misc]
        yield (
            f"onnxruntime static, min to max{suffix}",
            lambda path, kept=kept: static(  # type: ignore[misc]
                plain, path, kept, CalibrationMethod.MinMax, calibration
            ),
        )
    yield (
        f"onnxruntime static, {PERCENTILE} percentile",
        lambda path: static(plain, path, False, CalibrationMethod.Percentile, one_length(calibration)),
    )


def dynamic(plain: ir.Model, path: Path, keep_head: bool) -> None:
    """Activations get the range of each call's whole tensor."""
    source, head = onnxruntime_source(plain, path)
    quantize_dynamic(
        source,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[head] if keep_head else None,
    )


def static(plain: ir.Model, path: Path, keep_head: bool, method: CalibrationMethod, batches: list[MaskedBatch]) -> None:
    """Activations get ranges from calibration text."""
    source, head = onnxruntime_source(plain, path)
    quantize_static(
        source,
        path,
        Cellwise(batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=method,
        nodes_to_exclude=[head] if keep_head else None,
        extra_options={"CalibPercentile": PERCENTILE},
    )


def onnxruntime_source(plain: ir.Model, path: Path) -> tuple[Path, str]:
    """The fp32 graph as a file for onnxruntime's quantizers, the head's weight written out; and the head's name."""
    source, model = path.with_name("logits.fp32.onnx"), plain.clone()
    for number, node in enumerate(model.graph):
        node.name = f"node_{number}"
    matmuls = weight_matmuls(model)
    for matmul in matmuls:
        if matmul.transposed:
            weight = ir.tensor(np.ascontiguousarray(matmul.weight), name="head.weight")
            value = ir.Value(name="head.weight", shape=ir.Shape(matmul.shape), type=ir.TensorType(weight.dtype))
            value.const_value = weight
            model.graph.register_initializer(value)
            matmul.node.replace_input_with(1, value)
    ir.save(model, source)
    return source, str(matmuls[-1].node.name)


def one_length(calibration: list[MaskedBatch]) -> list[MaskedBatch]:
    """Batches of the commonest shape: onnxruntime's percentiles cannot be taken over several."""
    shapes = [(batch.input_ids.shape, batch.mask_positions.shape) for batch in calibration]
    commonest = max(set(shapes), key=lambda shape: (shapes.count(shape) * shape[0][0], shape))
    return [batch for batch, shape in zip(calibration, shapes, strict=True) if shape == commonest]
