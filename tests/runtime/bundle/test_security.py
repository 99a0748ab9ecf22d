"""What a bundle from somebody else cannot do: lead out of its directory, or run code."""

import hashlib
import json
import pickle
from contextlib import suppress
from pathlib import Path

import pytest

from maskedge import BundleCorruptError, MaskedgeError, Predictor
from maskedge.bundle.hub import find_bundle

FILES = [
    "README.md",
    "config.json",
    "onnx/int8.onnx",
    "onnx/int8.onnx.data",
    "tokenizer.json",
    "tokenizer_config.json",
]
PLANTED = ["pytorch_model.bin", "training_args.bin", "onnx/int8.onnx.pkl", "tokenizer.pkl", "model.pt", "vocab.npy"]


def list_as_it_is(bundle: Path, name: str) -> None:
    """Give the manifest the hash of a file, as whoever planted it would."""
    fields = json.loads((bundle / "maskedge.json").read_text())
    content = (bundle / name).read_bytes()
    fields["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (bundle / "maskedge.json").write_text(json.dumps(fields))


def test_the_trap_works(trap: bytes, sprung: Path) -> None:
    pickle.loads(trap)
    assert sprung.exists()


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_in_the_place_of_any_file_is_not_run(bundle_copy: Path, trap: bytes, sprung: Path, name: str) -> None:
    (bundle_copy / name).write_bytes(trap)
    list_as_it_is(bundle_copy, name)
    with suppress(Exception):  # of most it says that they cannot be read
        Predictor.load(bundle_copy, precision="int8")("the [MASK]")
    assert not sprung.exists()


def test_a_pickle_beside_the_files_is_not_run(bundle_copy: Path, trap: bytes, sprung: Path, tiny: Predictor) -> None:
    for name in PLANTED:
        (bundle_copy / name).write_bytes(trap)
        list_as_it_is(bundle_copy, name)
    assert Predictor.load(bundle_copy)("the [MASK]") == tiny("the [MASK]")
    assert not sprung.exists()


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    "name", [r"onnx\..\..\stray.onnx", r"..\stray.onnx", "C:/stray.onnx", "C:stray.onnx", r"\\server\share\stray.onnx"]
)
def test_a_name_that_leads_out_of_the_bundle_on_windows_is_refused_everywhere(
    bundle_copy: Path, name: str, verify: bool
) -> None:
    fields = json.loads((bundle_copy / "maskedge.json").read_text())
    fields["graphs"]["int8"]["file"] = name
    fields["files"][name] = fields["files"].pop("onnx/int8.onnx")
    (bundle_copy / "maskedge.json").write_text(json.dumps(fields))
    (bundle_copy / "onnx" / "int8.onnx").rename(bundle_copy / name.replace("/", "_"))
    with pytest.raises(BundleCorruptError, match="outside the bundle"):
        Predictor.load(bundle_copy, verify=verify)


@pytest.mark.parametrize(
    ("written", "hidden"),
    [
        (b"\x0a\x08location", b"\x0a\x88\x00location"),  # the key's length in two bytes
        (b"\x0a\x08location\x12", b"\x0a\x08location\x1a"),  # no value after the key
        (b"\x6a\x1a\x0a\x08location", b"\x6a\x1b\x0a\x08location"),  # an entry longer than its first value
    ],
)
def test_a_weights_file_named_in_an_unusual_way_is_refused(bundle_copy: Path, written: bytes, hidden: bytes) -> None:
    """Another reader of the same bytes might find another name in them."""
    graph = bundle_copy / "onnx" / "int8.onnx"
    content = graph.read_bytes()
    assert written in content
    graph.write_bytes(content.replace(written, hidden, 1))
    with pytest.raises(BundleCorruptError, match=r"int8\.onnx: it names a file of weights in a way"):
        Predictor.load(bundle_copy, verify=False)


@pytest.mark.parametrize(
    "path", ["build/bundel", "./build", "../bundle", "/no/such", "~/bundle", "a/b/c", r"build\bundel"]
)
def test_a_mistyped_path_is_not_looked_for_on_the_hub(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maskedge.bundle.hub.download_bundle", lambda *_: pytest.fail("the Hub was asked"))
    with pytest.raises(MaskedgeError, match=r"no (bundle at )?.*(bundle|bundel|build|such|c)\b"):
        Predictor.load(path)


def test_a_mistyped_path_says_why_it_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MaskedgeError, match=r"there is no build/bundel; .* since build is a directory here"):
        find_bundle("build/bundel")


def test_a_name_without_such_a_directory_is_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maskedge.bundle.hub.download_bundle", lambda name, revision: tmp_path / name)
    assert find_bundle("org/name") == tmp_path / "org" / "name"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""),
        ("tokenizer.json", b'{"model": {}}'),
        ("tokenizer.json", b"\xff\xfe"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b'{"pad_token": 3}'),
        ("tokenizer_config.json", b'{"pad_token": {"lstrip": false}}'),
        ("maskedge.json", b"[" * 100_000),
    ],
)
def test_a_file_that_is_no_tokenizer_or_manifest_is_named(bundle_copy: Path, name: str, content: bytes) -> None:
    (bundle_copy / name).write_bytes(content)
    with pytest.raises(BundleCorruptError, match=name.replace(".", r"\.")):
        Predictor.load(bundle_copy, verify=False)


def test_a_tokenizer_without_the_manifest_s_mask_is_named(bundle_copy: Path) -> None:
    path = bundle_copy / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("[MASK]", "[MUSK]"), encoding="utf-8")
    with pytest.raises(BundleCorruptError, match=r"tokenizer\.json cannot be read .*no mask token '\[MASK\]'"):
        Predictor.load(bundle_copy, verify=False)
