"""What is said of a graph is what counting by hand finds."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from maskedge.bundle.format import Bundle
from maskedge.errors import BundleNotFoundError
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.bundles.inspection import Inspection, inspect_graph
from maskedge_export.cli.app import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(int8_bundles: Callable[[str], Path]) -> Bundle:
    return Bundle.open(int8_bundles("bert"))


@pytest.fixture(scope="module")
def int8(bundle: Bundle) -> Inspection:
    return inspect_graph(bundle)


@pytest.fixture(scope="module")
def fp32(bundle: Bundle) -> Inspection:
    return inspect_graph(bundle, "fp32")


def test_operators_are_counted_as_saved(bundle: Bundle, int8: Inspection) -> None:
    nodes = onnx.load(bundle.path / "onnx" / "int8.onnx", load_external_data=False).graph.node
    assert int8.saved == Counter(node.op_type for node in nodes)
    assert (int8.precision, int8.file) == ("int8", "onnx/int8.onnx")


def test_onnxruntime_fuses_every_quantized_product(int8: Inspection, fp32: Inspection) -> None:
    assert int8.fused["MatMulIntegerToFloat"] == int8.saved["MatMul"]
    assert "MatMulIntegerToFloat" not in fp32.optimized


def test_sizes_are_those_of_the_files_and_tensors(bundle: Bundle, fp32: Inspection) -> None:
    files = [bundle.path / "onnx" / name for name in ("fp32.onnx", "fp32.onnx.data")]
    assert fp32.size == sum(file.stat().st_size for file in files)
    tensors = onnx.load(files[0]).graph.initializer
    floats = sum(4 * int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)
    assert fp32.weights["float"] == floats


def test_what_is_quantized(bundle: Bundle, int8: Inspection, fp32: Inspection) -> None:
    tensors = onnx.load(bundle.path / "onnx" / "int8.onnx").graph.initializer
    elements = Counter[int]()
    for tensor in tensors:
        elements[tensor.data_type] += int(np.prod(tensor.dims))
    narrow = elements[onnx.TensorProto.INT8] + elements[onnx.TensorProto.UINT8]
    assert int8.quantized_weights == pytest.approx(narrow / (narrow + elements[onnx.TensorProto.FLOAT]))
    assert fp32.quantized_weights == 0


def test_the_integer_share_of_the_work(int8: Inspection, fp32: Inspection) -> None:
    """Only the attention's own products are left: two of 32 x 32 for each of 32 units, of a layer."""
    assert fp32.integer_work == 0
    assert 0.5 < int8.integer_work < 1


def test_products_of_weights_in_blocks_are_integers_where_their_attribute_says_so(
    checkpoints: Callable[[str], Path], few_sentences: Path, tmp_path: Path, int8: Inspection
) -> None:
    """All but attention's own; the int8 graph may do some twice. None where the kernel is told to multiply floats."""
    export_bundle(
        str(checkpoints("bert")), tmp_path / "out", ExportOptions("int8-weights", (few_sentences,), gate=False)
    )
    integers = inspect_graph(Bundle.open(tmp_path / "out"))
    assert 0.5 < integers.integer_work < int8.integer_work + 1e-6
    assert integers.left_in_float == ()
    model = onnx.load(tmp_path / "out" / integers.file, load_external_data=False)
    for attribute in (attribute for node in model.graph.node for attribute in node.attribute):
        if attribute.name == "accuracy_level":
            attribute.i = 0
    onnx.save(model, tmp_path / "out" / integers.file)
    assert inspect_graph(Bundle.open(tmp_path / "out", verify=False)).integer_work == 0


def test_shares_of_the_time_add_up(int8: Inspection) -> None:
    assert sum(int8.time.values()) == pytest.approx(1)
    assert sum(node.seconds for node in int8.slowest) <= int8.seconds
    assert list(int8.slowest) == sorted(int8.slowest, key=lambda node: -node.seconds)
    assert len(int8.slowest) == 10


def test_products_left_in_fp32_are_named(int8: Inspection, fp32: Inspection) -> None:
    assert int8.left_in_float == ()
    assert {node.operator for node in fp32.left_in_float} <= {"MatMul", "FusedMatMul", "Gemm"}
    assert len(fp32.left_in_float) == fp32.saved["MatMul"]


def test_products_are_named_after_their_layers(fp32: Inspection) -> None:
    """As the encoder has them: two layers of BERT's six, and the head's two, of which one is the embedding table."""
    parts = ["attention.query", "attention.key", "attention.value", "attention.out", "mlp.up", "mlp.down"]
    expected = {f"blocks.{layer}.{part}" for layer in range(2) for part in parts} | {"head.dense", "embedding.tokens"}
    assert {node.weight for node in fp32.left_in_float} == expected


def test_products_of_integers_are_named_alike(int8: Inspection, fp32: Inspection) -> None:
    products = {node.weight for node in int8.slowest if node.operator == "MatMulIntegerToFloat"}
    assert products
    assert products <= {node.weight for node in fp32.left_in_float}


def test_an_unknown_precision_names_those_there_are(bundle: Bundle) -> None:
    with pytest.raises(BundleNotFoundError, match="it has: int8, fp32"):
        inspect_graph(bundle, "int4")


def test_the_command_shows_it_and_prints_json(bundle: Bundle) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(bundle.path)])
    assert shown.exit_code == 0, shown.output
    assert "MatMulIntegerToFloat" in shown.stdout
    printed = CliRunner().invoke(app, ["inspect", str(bundle.path), "--precision", "fp32", "--json"])
    fields = json.loads(printed.stdout)
    assert (fields["precision"], fields["integer_work"]) == ("fp32", 0)
    assert fields["left_in_float"][0].keys() == {"name", "operator", "seconds", "weight"}
