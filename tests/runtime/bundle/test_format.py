"""A bundle is used only where every file is what its manifest says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskedge import Bundle, BundleCorruptError, BundleError, BundleNotFoundError, MaskedgeError, Predictor

MANIFEST = "maskedge.json"
FILES = [
    "README.md",
    "config.json",
    "onnx/fp32.attention.onnx",
    "onnx/fp32.onnx",
    "onnx/fp32.onnx.data",
    "onnx/int8.attention.onnx",
    "onnx/int8.onnx",
    "onnx/int8.onnx.data",
    "tokenizer.json",
    "tokenizer_config.json",
]


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads((bundle / MANIFEST).read_text())
    edit(fields)
    (bundle / MANIFEST).write_text(json.dumps(fields))


def test_the_manifest_lists_every_file(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert set(FILES) == files - {MANIFEST} == set(Bundle.open(bundle).manifest.files)


def test_without_a_path_the_bundled_model_is_loaded(english: Predictor) -> None:
    assert english.name == "english-minilm"
    assert english("They stood in front [MASK] the house.")[0]["token_str"] == "of"


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_path_may_be_a_string(bundle: Path, as_type: Callable[[Path], str | Path]) -> None:
    assert Predictor.load(as_type(bundle)).name == "tiny"


def test_the_first_graph_is_the_default(bundle: Path) -> None:
    assert Predictor.load(bundle).precision == "int8"


def test_precision_chooses_the_graph(bundle: Path) -> None:
    int8, fp32 = (Predictor.load(bundle, precision=name) for name in ("int8", "fp32"))
    assert fp32.precision == "fp32"
    assert int8("the [MASK] water") != fp32("the [MASK] water")


def test_threads_are_the_usable_cpus_unless_given(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskedge.predictor.usable_cpus", lambda: 7)
    assert Predictor.load(bundle).threads == 7
    assert Predictor.load(bundle, threads=3).threads == 3


def test_an_unknown_precision_names_those_there_are(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"no 'int4' graph; it has: int8, fp32"):
        Predictor.load(bundle, precision="int4")


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_directory_without_a_bundle_names_the_next_step(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleNotFoundError, match=r"mlm-export bundle CHECKPOINT --out") as caught:
        Predictor.load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert isinstance(caught.value, MaskedgeError)


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_is_refused_naming_the_file(bundle_copy: Path, name: str) -> None:
    flip_byte(bundle_copy / name)
    with pytest.raises(BundleCorruptError, match="was altered") as caught:
        Predictor.load(bundle_copy)
    assert str(bundle_copy / name) in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleCorruptError, match="is missing") as caught:
        Predictor.load(bundle_copy)
    assert str(bundle_copy / name) in str(caught.value)


def test_a_shortened_file_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "README.md").write_bytes(b"")
    with pytest.raises(BundleCorruptError, match=r"README\.md"):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize("name", ["maskedge.json", "tokenizer.json", "onnx/int8.onnx"])
def test_a_git_lfs_pointer_in_place_of_a_file_is_named_with_what_fetches_it(name: str, bundle_copy: Path) -> None:
    (bundle_copy / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 267954768\n")
    with pytest.raises(BundleCorruptError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        Bundle.open(bundle_copy)


def test_without_verification_an_altered_card_loads(bundle_copy: Path, tiny: Predictor) -> None:
    flip_byte(bundle_copy / "README.md")
    assert Predictor.load(bundle_copy, verify=False)("the [MASK]") == tiny("the [MASK]")


def test_a_later_format_is_named_even_where_its_fields_are_unknown(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, lambda fields: fields.update(format_version=2, invented_later=True))
    with pytest.raises(BundleCorruptError, match=r"format is 2.* reads 1"):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "{}", '{"format_version": 1}', '{"format_version": 1, "graphs": 3}', "\ud800"],
)
def test_a_malformed_manifest_is_named(bundle_copy: Path, text: str) -> None:
    (bundle_copy / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(BundleCorruptError, match=MANIFEST):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize("field", ["name", "mask_token", "max_length", "vocab_size", "graphs", "files"])
def test_a_manifest_without_one_of_its_fields_is_refused(bundle_copy: Path, field: str) -> None:
    edit_manifest(bundle_copy, lambda fields: fields.pop(field))
    with pytest.raises(BundleCorruptError, match=field):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", 3, "are to be text"),
        ("mask_token", None, "are to be text"),
        ("max_length", "64", "'64'"),
        ("max_length", 0, "here is 0"),
        ("vocab_size", 1e9, "1000000000.0"),
        ("vocab_size", 2**70, "whole numbers above 0"),
    ],
)
def test_a_manifest_with_a_field_of_another_kind_is_refused(
    bundle_copy: Path, field: str, value: object, said: str
) -> None:
    edit_manifest(bundle_copy, lambda fields: fields.update({field: value}))
    with pytest.raises(BundleCorruptError, match=said):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("input_ids", [2, 2**70], "whole numbers from 0"),
        ("input_ids", [2, -1], "whole numbers from 0"),
        ("mask_positions", ["1"], "whole numbers from 0"),
        ("mask_positions", [1, 2, 3, 4, 5], "for each of its masks"),
        ("top_ids", [[1], [2, 3]], "for each of its masks"),
        ("top_ids", [], "for each of its masks"),
        ("top_logprobs", [[]], "for each of its masks"),
        ("top_logprobs", [["x"]], "'x'"),
        ("top_logprobs", [[10**400]], "OverflowError"),
    ],
)
def test_golden_vectors_that_do_not_fit_each_other_are_refused(
    bundle_copy: Path, field: str, value: object, said: str
) -> None:
    edit_manifest(bundle_copy, lambda fields: fields["graphs"]["fp32"]["golden"][0].update({field: value}))
    with pytest.raises(BundleCorruptError, match=said):
        Predictor.load(bundle_copy)


def test_a_manifest_without_a_graph_is_refused(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, lambda fields: fields["graphs"].clear())
    with pytest.raises(BundleCorruptError, match="no graph"):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", ["../stray.onnx", "onnx/../../stray.onnx", "/etc/hostname"])
def test_a_name_that_leads_out_of_the_bundle_is_refused(bundle_copy: Path, name: str, verify: bool) -> None:
    (bundle_copy.parent / "stray.onnx").write_bytes((bundle_copy / "onnx/int8.onnx").read_bytes())

    def lead_out(fields: dict[str, Any]) -> None:
        fields["graphs"]["int8"]["file"] = name
        fields["files"][name] = fields["files"].pop("onnx/int8.onnx")

    edit_manifest(bundle_copy, lead_out)
    with pytest.raises(BundleCorruptError, match="outside the bundle") as caught:
        Predictor.load(bundle_copy, verify=verify)
    assert name in str(caught.value)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", ["onnx/int8.onnx", "onnx/int8.onnx.data", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_used_but_not_listed_is_refused(bundle_copy: Path, name: str, verify: bool) -> None:
    """Nobody would notice if it were another."""
    edit_manifest(bundle_copy, lambda fields: fields["files"].pop(name))
    with pytest.raises(BundleCorruptError, match="does not list it") as caught:
        Predictor.load(bundle_copy, verify=verify)
    assert str(bundle_copy / name) in str(caught.value)


def test_a_bundle_may_do_without_a_tokenizers_configuration(bundle_copy: Path, tiny: Predictor) -> None:
    (bundle_copy / "tokenizer_config.json").unlink()
    edit_manifest(bundle_copy, lambda fields: fields["files"].pop("tokenizer_config.json"))
    assert Predictor.load(bundle_copy)("the [MASK]") == tiny("the [MASK]")


def test_weights_that_a_graph_takes_from_elsewhere_are_refused(bundle_copy: Path) -> None:
    graph = bundle_copy / "onnx" / "int8.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"int8.onnx.data", b"../../../a.bin"))
    with pytest.raises(BundleCorruptError, match=r"a\.bin is used, but"):
        Predictor.load(bundle_copy, verify=False)


def test_a_link_that_leads_out_of_the_bundle_is_refused(bundle_copy: Path) -> None:
    outside = bundle_copy.parent / "tokenizer.json"
    (bundle_copy / "tokenizer.json").rename(outside)
    (bundle_copy / "tokenizer.json").symlink_to(outside)
    with pytest.raises(BundleCorruptError, match=r"'tokenizer\.json', which lies outside the bundle"):
        Predictor.load(bundle_copy)


def test_a_link_to_the_whole_bundle_is_followed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle, target_is_directory=True)
    assert Predictor.load(tmp_path / "link").name == "tiny"


def test_the_fingerprint_tells_other_content_apart(bundle: Path, bundle_copy: Path) -> None:
    assert Bundle.open(bundle).fingerprint == Bundle.open(bundle_copy).fingerprint
    edit_manifest(bundle_copy, lambda fields: fields["files"]["README.md"].update(sha256="0" * 64))
    assert Bundle.open(bundle).fingerprint != Bundle.open(bundle_copy, verify=False).fingerprint


def test_the_manifest_survives_its_own_file(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert type(manifest).from_json(manifest.to_json()) == manifest


def test_golden_vectors_replay(predictor: Predictor, ask: Callable[..., Any]) -> None:
    """Within 1e-4 nats for fp32; int8 rounds activations, and another CPU's last bit may move one to the next step,
    so there the golden ids are looked up rather than their order compared."""
    _, graph = predictor.bundle.graph(predictor.precision)
    assert len(graph.golden) >= 4
    tolerance = {"fp32": 1e-4, "int8": 5e-2}[predictor.precision]
    for vector in graph.golden:
        for best, logprobs in zip(
            zip(*vector.top_ids, strict=True), zip(*vector.top_logprobs, strict=True), strict=True
        ):
            outputs = ask(predictor, vector.input_ids, vector.mask_positions, best, top_k=5)
            np.testing.assert_allclose(outputs["target_logprobs"][:, 0], logprobs, rtol=0, atol=tolerance)
        np.testing.assert_allclose(outputs["top_logprobs"], vector.top_logprobs, rtol=0, atol=tolerance)
        if predictor.precision == "fp32":
            np.testing.assert_array_equal(outputs["top_ids"], vector.top_ids)
