"""Neither a checkpoint nor a bundle from somebody else runs code or reads other files."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from maskedge.bundle.format import Bundle
from maskedge.errors import BundleCorruptError
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.bundles.inspection import inspect_graph
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.errors import CheckpointError

PLANTED = ["pytorch_model.bin", "training_args.bin", "optimizer.pt", "tokenizer.pkl", "vocab.pkl", "model.ckpt"]


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    return make_checkpoint("distilbert", tmp_path / "checkpoint", n_layers=1)


@pytest.mark.slow
def test_pickles_beside_the_weights_are_not_run(checkpoint: Path, trap: bytes, sprung: Path, tmp_path: Path) -> None:
    pickle.loads(trap)
    sprung.unlink()  # the trap works
    for name in PLANTED:
        (checkpoint / name).write_bytes(trap)
    export_bundle(str(checkpoint), tmp_path / "out", ExportOptions("fp32"))
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pickle_in_the_place_of_a_file_is_refused(checkpoint: Path, trap: bytes, sprung: Path, name: str) -> None:
    (checkpoint / name).write_bytes(trap)
    with pytest.raises(CheckpointError):
        load_checkpoint(str(checkpoint))
    assert not sprung.exists()


def test_pickled_weights_alone_are_refused(checkpoint: Path, trap: bytes, sprung: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(trap)
    with pytest.raises(CheckpointError, match=r"never loaded: pytorch_model\.bin"):
        load_checkpoint(str(checkpoint))
    assert not sprung.exists()


# A graph's external weights


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes, shorter than 128."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def long_field(number: int, content: bytes) -> bytes:
    """The same, its length in two bytes though one would do."""
    return bytes([number << 3 | 2, len(content) | 0x80, 0]) + content


KEY, VALUE = 1, 2
ENTRIES: dict[str, Callable[[bytes], bytes]] = {
    "as export writes it": lambda name: field(KEY, b"location") + field(VALUE, name),
    "value first": lambda name: field(VALUE, name) + field(KEY, b"location"),
    "a second value": lambda name: field(KEY, b"location") + field(VALUE, b"w.data") + field(VALUE, name),
    "a second key": lambda name: field(KEY, b"offset") + field(KEY, b"location") + field(VALUE, name),
    "a longer length of the key": lambda name: long_field(KEY, b"location") + field(VALUE, name),
    "a longer length of the value": lambda name: field(KEY, b"location") + long_field(VALUE, name),
}


def graph_with_weights_at(entry: bytes) -> bytes:
    """y = x + w, where w lies in another file: the entry is appended to the serialized graph, as protobuf allows."""
    add = helper.make_node("Add", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    opsets = [helper.make_opsetid("", 21)]
    model = helper.make_model(helper.make_graph([add], "g", ends[:1], ends[1:]), opset_imports=opsets, ir_version=10)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4]).SerializeToString()
    external = tensor + field(13, entry) + bytes([14 << 3, TensorProto.EXTERNAL])
    return bytes(model.SerializeToString() + field(7, field(5, external)))


@pytest.mark.slow
@pytest.mark.parametrize("written", ENTRIES)
def test_weights_outside_the_bundle_are_refused_however_they_are_named(
    int8_bundles: Callable[[str], Path], tmp_path: Path, written: str
) -> None:
    copy = Path(shutil.copytree(int8_bundles("bert"), tmp_path / "bundle"))
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    graph = copy / "onnx" / "int8.onnx"
    graph.write_bytes(graph_with_weights_at(ENTRIES[written](b"../../secret")))
    (tensor,) = onnx.load(graph, load_external_data=False).graph.initializer
    assert "../../secret" in [entry.value for entry in tensor.external_data]  # so would onnxruntime read it
    bundle = Bundle.open(copy, verify=False)
    with pytest.raises(BundleCorruptError):
        bundle.graph_file(bundle.manifest.graphs["int8"])
    with pytest.raises(BundleCorruptError):
        inspect_graph(bundle)


def test_onnxruntime_itself_refuses_them(tmp_path: Path) -> None:
    """The second door: this version's, though not every earlier one's."""
    (tmp_path / "graphs").mkdir()
    (tmp_path / "secret").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    graph = tmp_path / "graphs" / "g.onnx"
    graph.write_bytes(graph_with_weights_at(ENTRIES["as export writes it"](b"../secret")))
    with pytest.raises(Exception, match="escapes model directory"):
        onnxruntime.InferenceSession(graph)
