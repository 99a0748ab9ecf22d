"""fp32 graph -> graph of blocks of 8 or 4 bits, with onnxruntime's MatMulNBits: least memory, activations as they are.

The kernel rounds each block of 32 of an activation's row to 8 bits while it multiplies, with a scale of its own, so
that nothing is calibrated and a row's score does not depend on its batch.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from maskedge_export.graphs.editing import insert, named_constant, replace
from maskedge_export.graphs.matmuls import token_gather, weight_matmuls
from maskedge_export.quantization.gptq import BlockWeight

__all__ = ["BLOCK", "store_in_blocks"]

BLOCK = 32
"""How many weights share a scale. With 64 or 128, onnxruntime 1.32 gave some rows other bits alone than among other
rows; with 32 it did not, at 8 bits and at 4."""

ACCURACY_LEVEL_INT8 = 4
"""MatMulNBits' `accuracy_level` for products in 8-bit integers. With fp32 products a row alone got other bits than
among other rows, and few rows took longer."""

MICROSOFT = "com.microsoft"


def store_in_blocks(model: ir.Model, weights: dict[str, BlockWeight]) -> None:
    """Turn each MatMul with a weight, and the embedding, into its form in blocks, in place.

    Args:
        model: The fp32 graph.
        weights: Every stored weight by its name; the embedding table's, which a tied head shares, as
            [hidden, vocabulary] of 8 bits.
    """
    model.opset_imports.setdefault(MICROSOFT, 1)
    matmuls = weight_matmuls(model)
    _gather_blocks(model, weights)
    for matmul in matmuls:
        stored = weights[matmul.name]
        inputs = [matmul.factor, *_constants(model, matmul.name, stored)]
        attributes = {
            "K": stored.inputs,
            "N": len(stored.codes),
            "bits": stored.bits,
            "block_size": stored.codes.shape[-1],
            "accuracy_level": ACCURACY_LEVEL_INT8,
        }
        replace(model, matmul.node, insert(model, matmul.node, "MatMulNBits", inputs, attributes, MICROSOFT))
    RemoveUnusedNodesPass()(model)


def packed(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes [.., n] as bytes [.., n * bits / 8]; of two codes of 4 bits the first is the lower half."""
    return codes if bits == 8 else np.bitwise_or(codes[..., ::2], codes[..., 1::2] << 4, dtype=np.uint8)


def _constants(model: ir.Model, name: str, stored: BlockWeight) -> list[ir.Value]:
    """The packed codes and the scales, as constants of the graph."""
    codes = named_constant(model, f"{name}.bits{stored.bits}", packed(stored.codes, stored.bits))
    return [codes, named_constant(model, f"{name}.bits{stored.bits}.scales", stored.scales)]


def _gather_blocks(model: ir.Model, weights: dict[str, BlockWeight]) -> None:
    """Store the token table in blocks. A gathered row is (codes - 2^(bits - 1)) * scales, without the last block's
    filling."""
    node = token_gather(model)
    if node is None:
        return
    source, ids = node.inputs
    assert source is not None
    stored = weights[str(source.name)]
    codes, scales = _constants(model, str(source.name), stored)
    floats = insert(model, node, "Cast", [insert(model, node, "Gather", [codes, ids])], {"to": ir.DataType.FLOAT})
    middle = named_constant(model, "blocks.middle", np.array(2 ** (stored.bits - 1), np.float32))
    last = named_constant(model, "blocks.last_axis", np.array([-1]))
    column = insert(model, node, "Unsqueeze", [insert(model, node, "Gather", [scales, ids]), last])
    scaled = insert(model, node, "Mul", [insert(model, node, "Sub", [floats, middle]), column])
    rows = insert(model, node, "Reshape", [scaled, named_constant(model, "blocks.rows", np.array([0, 0, -1]))])
    if stored.inputs != stored.codes[0].size:
        ends = [named_constant(model, f"blocks.{at}", np.array([at])) for at in (0, stored.inputs)]
        rows = insert(model, node, "Slice", [rows, *ends, last])
    replace(model, node, rows)
