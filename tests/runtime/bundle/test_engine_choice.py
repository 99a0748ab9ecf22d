"""Which engine runs a graph: the one that is asked for, or the faster one where it is there and proved."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from maskedge import EngineError, Predictor, UnsupportedGraphError
from maskedge.bundle import engine_choice
from maskedge.bundle.checked_graph import CheckedGraph
from maskedge.bundle.cpu import CpuFeatures, features_of
from maskedge.bundle.engine import EngineChoice, EngineName, OnnxGraph
from maskedge.bundle.engine_choice import choose_engine, preferred
from maskedge.bundle.format import Bundle
from maskedge.bundle.huge_pages import OnHugePages

SAPPHIRE_RAPIDS = features_of("x86_64", ["avx2", "avx512_vnni", "amx_int8"])
ZEN_4 = features_of("x86_64", ["avx2", "avx512_vnni"])
GRAVITON = features_of("aarch64", ["asimd", "asimddp", "i8mm"])
UNKNOWN = features_of("AMD64", [])
BUNDLED_MODEL, BERT_BASE = 23_400_000, 111_000_000
"""Bytes of their 8-bit graphs."""


@pytest.fixture
def amx(openvino: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU on which OpenVINO is the faster one, even for the tests' small graphs."""
    monkeypatch.setattr(engine_choice, "cpu_features", lambda: SAPPHIRE_RAPIDS)
    monkeypatch.setattr(engine_choice, "LARGE", 1)


def shift_golden_vectors(bundle: Path, by: float) -> Path:
    """The int8 graph's record is another in its third vector."""
    path = bundle / "maskedge.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["graphs"]["int8"]["golden"][2]["top_logprobs"][0][3] += by
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return bundle


@pytest.mark.parametrize("precision", ["int8", "int8-avx2", "fp32", "int8-weights", "int4-weights"])
@pytest.mark.parametrize("cpu", [SAPPHIRE_RAPIDS, ZEN_4, GRAVITON, UNKNOWN])
@pytest.mark.parametrize("size", [BUNDLED_MODEL, BERT_BASE])
def test_the_fastest_engine_comes_first_as_far_as_was_measured(precision: str, cpu: CpuFeatures, size: int) -> None:
    integer = precision in ("int8", "int8-avx2")
    kernels = integer and cpu in (SAPPHIRE_RAPIDS, ZEN_4)
    openvino = integer and cpu is SAPPHIRE_RAPIDS and size == BERT_BASE
    expected = [*["kernels"] * kernels, *["openvino"] * openvino, "onnxruntime"]
    assert list(preferred(precision, cpu, size)) == expected


def test_openvino_is_not_taken_where_threads_share_a_batch() -> None:
    assert preferred("int8", SAPPHIRE_RAPIDS, BERT_BASE, 2) == ("kernels", "onnxruntime")


def test_auto_takes_the_next_engine_where_the_kernels_were_not_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "LIBRARY", tmp_path / "kernels.so")
    assert Predictor.load().engine == "onnxruntime"


@pytest.mark.usefixtures("kernels")
def test_auto_says_nothing_of_a_graph_that_the_kernels_are_not_made_for(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "maskedge.engine"):
        assert Predictor.load(bundle, precision="int8").engine == "onnxruntime"
    assert caplog.text == ""
    with pytest.raises(UnsupportedGraphError, match=r"kernels cannot run .*int8\.onnx: .* take onnxruntime"):
        Predictor.load(bundle, precision="int8", engine="kernels")


@pytest.mark.usefixtures("openvino")
def test_the_bundled_model_is_not_openvino_s_even_with_amx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "LIBRARY", tmp_path / "kernels.so")
    monkeypatch.setattr(engine_choice, "cpu_features", lambda: SAPPHIRE_RAPIDS)
    assert Predictor.load().engine == "onnxruntime"


@pytest.mark.usefixtures("amx")
@pytest.mark.parametrize(("precision", "chosen"), [("int8", "openvino"), ("fp32", "onnxruntime")])
def test_auto_takes_the_preferred_engine(bundle: Path, precision: str, chosen: EngineName) -> None:
    predictor = Predictor.load(bundle, precision=precision)
    assert predictor.engine == predictor.verify().engine == chosen
    checked = predictor.graph.graph if isinstance(predictor.graph, OnHugePages) else predictor.graph
    assert isinstance(checked, CheckedGraph)
    assert isinstance(checked.graph, OnnxGraph) is (chosen == "onnxruntime")
    assert choose_engine(Bundle.open(bundle), precision, "auto") == chosen


@pytest.mark.usefixtures("amx")
def test_auto_takes_onnxruntime_where_threads_share_one_text(bundle: Path) -> None:
    assert Predictor.load(bundle, precision="int8", threads=1, threads_per_batch=2).engine == "onnxruntime"


@pytest.mark.usefixtures("amx")
def test_auto_takes_onnxruntime_where_openvino_is_not_installed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "find_spec", lambda name: name == "onnxruntime" or None)
    assert Predictor.load(bundle, precision="int8").engine == "onnxruntime"


@pytest.mark.usefixtures("amx")
def test_auto_takes_onnxruntime_where_openvino_is_not_proved(
    bundle_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shift_golden_vectors(bundle_copy, 0.5)
    with caplog.at_level(logging.WARNING, "maskedge.engine"):
        assert Predictor.load(bundle_copy, precision="int8").engine == "onnxruntime"
    assert "OpenVINO" in caplog.text
    assert "0.5 nats" in caplog.text


@pytest.mark.usefixtures("amx")
def test_auto_takes_onnxruntime_where_nothing_could_prove_openvino(bundle_copy: Path) -> None:
    path = bundle_copy / "maskedge.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["graphs"]["int8"]["golden"] = []
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert Predictor.load(bundle_copy, precision="int8").engine == "onnxruntime"


@pytest.mark.usefixtures("openvino")
def test_an_engine_whose_answers_are_others_is_refused_with_how_far_off(bundle_copy: Path) -> None:
    shift_golden_vectors(bundle_copy, 0.5)
    said = r"OpenVINO differs by 0\.5 nats, and 0\.2 are allowed, from the golden vectors of tiny's int8 graph"
    with pytest.raises(EngineError, match=said):
        Predictor.load(bundle_copy, precision="int8", engine="openvino")
    assert Predictor.load(bundle_copy, precision="fp32", engine="openvino").engine == "openvino"


def test_openvino_is_refused_where_a_text_s_bits_would_depend_on_its_batch(bundle_copy: Path) -> None:
    path = bundle_copy / "maskedge.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["graphs"]["int8-weights"] = manifest["graphs"].pop("fp32")
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(EngineError, match=r"OpenVINO runs int8, int8-avx2, fp32: in a graph of int8-weights it gives"):
        Predictor.load(bundle_copy, precision="int8-weights", engine="openvino")
    assert Predictor.load(bundle_copy, precision="int8-weights").engine == "onnxruntime"


def test_an_engine_that_is_not_installed_says_what_to_install(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("graph", "model", "library"):
        monkeypatch.delitem(sys.modules, f"maskedge.bundle.openvino_{name}", raising=False)
    with pytest.raises(EngineError, match=r"engine openvino cannot be used .*: pip install 'maskedge\[openvino\]'"):
        Predictor.load(bundle, engine="openvino")


def test_a_graph_that_onnxruntime_cannot_read_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "onnx" / "fp32.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"onnxruntime \S+ cannot run .*fp32\.onnx: \S"):
        Predictor.load(bundle_copy, precision="fp32", engine="onnxruntime", verify=False)


@pytest.mark.usefixtures("openvino")
def test_a_graph_that_openvino_cannot_read_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "onnx" / "fp32.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"OpenVINO \S+ cannot run .*fp32\.onnx: \S"):
        Predictor.load(bundle_copy, precision="fp32", engine="openvino", verify=False)


@pytest.mark.parametrize("engine", ["tensorrt", "", "OpenVINO"])
def test_another_engine_is_refused_by_name(bundle: Path, engine: EngineChoice) -> None:
    with pytest.raises(
        ValueError, match=f"there is no engine '{engine}'; there are: auto, kernels, onnxruntime, openvino"
    ):
        Predictor.load(bundle, engine=engine)


@pytest.mark.slow
def test_openvino_is_imported_only_where_it_runs(bundle: Path) -> None:
    script = (
        "import sys; from maskedge import Predictor;"
        f"Predictor.load({str(bundle)!r}, engine='onnxruntime')('the [MASK]');"
        f"Predictor.load({str(bundle)!r}, precision='fp32')('the [MASK]');"
        "print('openvino' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
