"""Golden vectors replayed on this CPU, and the precision chosen by what the CPU can multiply with."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from maskedge import Int8SaturationWarning, Predictor
from maskedge import predictor as predictor_module
from maskedge.bundle.cpu import CpuFeatures, cpu_features, features_of, linux_flags
from maskedge.bundle.format import GraphEntry
from maskedge.bundle.golden_vectors import TOLERANCE, choose_precision

VNNI = features_of("x86_64", ["avx2", "avx512_vnni"])
HASWELL = features_of("x86_64", ["sse4_2", "avx2", "fma"])
SKYLAKE_X = features_of("x86_64", ["avx2", "avx512f", "avx512bw"])
GRAVITON = features_of("aarch64", ["asimd", "asimddp", "i8mm"])
UNKNOWN = features_of("AMD64", [])


def test_a_bundle_gives_what_it_recorded(predictor: Predictor) -> None:
    found = predictor.verify()
    assert found.passed
    assert found.same_best_tokens
    assert not found.saturates
    assert found.max_logprob_difference <= 0.1
    assert found.precision == predictor.precision
    assert found.vectors == len(predictor.bundle.manifest.graphs[predictor.precision].golden) > 3
    assert found.cpu == cpu_features()


def record(bundle: Path, change: Callable[[dict[str, list[list[float]]]], None]) -> Predictor:
    """The bundle's int8 graph after its third golden vector was changed."""
    manifest = json.loads((bundle / "maskedge.json").read_text(encoding="utf-8"))
    change(manifest["graphs"]["int8"]["golden"][2])
    (bundle / "maskedge.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Predictor.load(bundle, precision="int8")


def test_another_score_is_found_and_measured(bundle_copy: Path) -> None:
    def shift(vector: dict[str, list[list[float]]]) -> None:
        vector["top_logprobs"][0][3] += 2 * TOLERANCE["int8"]

    found = record(bundle_copy, shift).verify()
    assert not found.passed
    assert found.same_best_tokens
    assert found.max_logprob_difference == pytest.approx(2 * TOLERANCE["int8"], abs=0.1)


def test_another_best_token_is_found(bundle_copy: Path) -> None:
    def swap(vector: dict[str, list[list[float]]]) -> None:
        for values in (vector["top_ids"][0], vector["top_logprobs"][0]):
            values[0], values[1] = values[1], values[0]

    found = record(bundle_copy, swap).verify()
    assert not found.same_best_tokens
    assert found.passed, "the recorded tokens have their recorded scores"


def test_not_a_number_is_the_largest_difference(bundle_copy: Path) -> None:
    def spoil(vector: dict[str, list[list[float]]]) -> None:
        vector["top_logprobs"][0][0] = float("nan")

    assert record(bundle_copy, spoil).verify().max_logprob_difference == float("inf")


@pytest.mark.parametrize(
    ("cpu", "precision", "difference", "saturates"),
    [
        (HASWELL, "int8", 3.0, True),
        (UNKNOWN, "int8", 3.0, True),
        (HASWELL, "int8", 0.01, False),
        (VNNI, "int8", 3.0, False),
        (GRAVITON, "int8", 3.0, False),
        (HASWELL, "int8-avx2", 3.0, False),
        (HASWELL, "fp32", 3.0, False),
    ],
)
def test_saturation_is_a_difference_that_the_cpu_explains(
    tiny: Predictor, cpu: CpuFeatures, precision: str, difference: float, saturates: bool
) -> None:
    found = replace(tiny.verify(), cpu=cpu, precision=precision, max_logprob_difference=difference)
    assert found.saturates is saturates


@pytest.mark.parametrize(
    ("cpu", "saturates"), [(VNNI, False), (HASWELL, True), (SKYLAKE_X, True), (GRAVITON, False), (UNKNOWN, False)]
)
def test_which_cpus_saturate(cpu: CpuFeatures, saturates: bool) -> None:
    assert cpu.int8_saturates is saturates


@pytest.mark.parametrize("flag", ["avx_vnni", "avx512_vnni", "amx_int8", "AVX512VNNI"])
def test_every_kind_of_vnni_will_do(flag: str) -> None:
    assert not features_of("x86_64", ["avx2", flag]).int8_saturates


def test_features_have_names() -> None:
    assert VNNI.names == ("avx2", "avx512_vnni")
    assert GRAVITON.names == ("arm_dot_product", "arm_i8mm")
    assert (UNKNOWN.known, UNKNOWN.names) == (False, ())
    assert features_of("arm64", ["arm64", "hw.optional.arm.FEAT_DotProd"]).arm_dot_product


def test_flags_are_read_of_the_first_cpu(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert linux_flags(cpuinfo) == ["fpu", "avx2", "avx_vnni"]
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n")
    assert linux_flags(cpuinfo) == ["fp", "asimd", "asimddp"]
    assert linux_flags(tmp_path / "missing") == []


ENTRY = GraphEntry("onnx/any.onnx", {})


def graphs(*names: str) -> dict[str, GraphEntry]:
    return dict.fromkeys(names, ENTRY)


@pytest.mark.parametrize(
    ("names", "asked", "cpu", "chosen"),
    [
        (("int8", "int8-avx2", "fp32"), None, VNNI, None),
        (("int8", "int8-avx2", "fp32"), None, UNKNOWN, None),
        (("int8", "int8-avx2", "fp32"), None, HASWELL, "int8-avx2"),
        (("int8", "int8-avx2", "fp32"), "fp32", HASWELL, "fp32"),
        (("fp32", "int8"), None, HASWELL, None),
        (("int8-avx2",), None, HASWELL, None),
    ],
)
def test_the_precision_is_chosen_without_a_word(
    names: tuple[str, ...], asked: str | None, cpu: CpuFeatures, chosen: str | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_precision(graphs(*names), asked, cpu) == chosen


@pytest.mark.parametrize(
    ("names", "asked", "chosen", "message"),
    [
        (("int8", "fp32"), None, "fp32", "no VNNI .* its fp32 graph is used instead, several times slower"),
        (("int8",), None, "int8", "no VNNI .* scores may be wrong"),
        (("int8", "int8-avx2"), "int8", "int8", "no VNNI .* scores may be wrong.* 'int8-avx2' or 'fp32'"),
    ],
)
def test_what_is_slow_or_may_be_wrong_is_warned_of(
    names: tuple[str, ...], asked: str | None, chosen: str, message: str
) -> None:
    with pytest.warns(Int8SaturationWarning, match=message):
        assert choose_precision(graphs(*names), asked, HASWELL) == chosen


def test_loading_asks_the_cpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor_module, "cpu_features", lambda: HASWELL)
    with pytest.warns(Int8SaturationWarning, match="fp32") as caught:
        loaded = Predictor.load(bundle)
    assert loaded.precision == "fp32"
    assert caught[0].filename == __file__, "the warning points at the caller"
