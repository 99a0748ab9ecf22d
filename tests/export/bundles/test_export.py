"""From checkpoint to bundle: proved, published in one step, or not at all."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from tiny_families import edit_weights, save_checkpoint

from maskedge import Predictor
from maskedge.bundle.cpu import cpu_features, features_of
from maskedge.bundle.engine import OnnxGraph, graph_inputs
from maskedge.bundle.format import Bundle, file_sha256
from maskedge.bundle.padding import UNPADDED, Padding
from maskedge_export.bundles import export as bundling
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.errors import CalibrationTextError, CheckpointError, ExportError, GateError, StagingError
from maskedge_export.evaluation.gate import GATE, Limits
from maskedge_export.quantization.precisions import DEFAULT_PRECISION

pytestmark = pytest.mark.slow

TEXTS = [
    "The {} is known for its black and white stripes.",
    "Regular exercise makes the {} stronger.",
    "{} of these two answers is correct.",
    "If you travel from {} to Japan, you must set your watch forward.",
    "A novel is longer than a short {}.",
]
IMPOSSIBLE = {"fp32": Limits(logprob_difference=-1.0)}


@pytest.fixture(scope="module")
def tiny(make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of one layer, which is exported soonest."""
    return str(make_checkpoint("distilbert", tmp_path_factory.mktemp("checkpoints") / "tiny", n_layers=1))


@pytest.fixture
def existing(int8_bundles: Callable[[str], Path], tmp_path: Path) -> Path:
    """A bundle that stands where another is to be written."""
    return Path(shutil.copytree(int8_bundles("bert"), tmp_path / "bundle"))


def manifest_of(bundle: Path) -> Any:
    return json.loads((bundle / "maskedge.json").read_text())


def names(directory: Path) -> list[str]:
    """What lies in the directory, hidden files too."""
    return sorted(path.name for path in directory.iterdir())


def snapshot(directory: Path) -> dict[str, str]:
    """Every file below the directory, with its hash."""
    return {str(path): file_sha256(path) for path in sorted(directory.rglob("*")) if path.is_file()}


def test_predictions_are_those_of_the_transformers_pipeline(checkpoint: Path, fp32_bundle: Path) -> None:
    pipeline: Any = transformers.pipeline("fill-mask", model=str(checkpoint), tokenizer=str(checkpoint))
    predictor = Predictor.load(fp32_bundle)
    for text in (text.format(pipeline.tokenizer.mask_token) for text in TEXTS):
        for expected, actual in zip(pipeline(text, top_k=5), predictor(text, top_k=5), strict=True):
            assert actual["score"] == pytest.approx(expected["score"], abs=1e-4)
            assert (actual["token"], actual["token_str"]) == (expected["token"], expected["token_str"])
            assert actual["sequence"] == expected["sequence"]


@pytest.mark.usefixtures("openvino")
def test_in_openvino_a_family_s_texts_have_the_same_bits_alone_and_padded(
    family: str, fp32_bundle: Path, max_length: int
) -> None:
    predictor = Predictor.load(fp32_bundle, engine="openvino")
    padded = cpu_features().avx512_vnni and family != "modernbert"  # whose windows may hold nothing but padding
    assert predictor.graph.padding == (Padding(16, 2, 4, max_length) if padded else UNPADDED)
    texts = [" ".join([*["the", "water"] * (number % 9), predictor.mask_token, "land"]) for number in range(40)]
    assert predictor.fill(texts) == [predictor.fill([text])[0] for text in texts]


def test_fp32_needs_no_calibration_text(fp32_bundle: Path) -> None:
    """It is compared on random tokens, each length once, and says so."""
    (entry,) = Bundle.open(fp32_bundle).manifest.graphs.values()
    assert (entry.verification["text"], entry.verification["candidate_perplexity"]) == ("random tokens", None)
    assert entry.verification["cells"] == len({3, 4, 6, 9, 13, 19, 28, 42, 48})
    assert "no text was given" in (fp32_bundle / "README.md").read_text()


def test_the_limits_that_applied_are_recorded(int8_bundle: Path) -> None:
    graphs = Bundle.open(int8_bundle).manifest.graphs
    assert {name: Limits(**entry.verification["limits"]) for name, entry in graphs.items()} == {
        name: GATE[name] for name in ("int8", "fp32")
    }
    assert {entry.verification["text"] for entry in graphs.values()} == {"held-out text"}


@pytest.mark.parametrize("precision", ["int8", "both", "int8-avx2,int8"])
def test_a_cpu_whose_sums_saturate_is_no_place_to_measure_int8(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "cpu_features", lambda: features_of("x86_64", ["avx2"]))
    options = ExportOptions(precision, (tmp_path / "texts.txt",))
    with pytest.raises(ExportError, match=r"no VNNI instructions.* saturate; export --precision int8-avx2"):
        export_bundle("no such checkpoint", tmp_path / "out", options)


@pytest.mark.parametrize("precision", [DEFAULT_PRECISION, "int4-weights,fp32"])
def test_other_precisions_are_measured_there(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "cpu_features", lambda: features_of("x86_64", ["avx2"]))
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        export_bundle(str(tmp_path / "none"), tmp_path / "out", ExportOptions(precision, (tmp_path / "texts.txt",)))


def test_weights_that_change_during_an_export_are_noticed(
    make_checkpoint: Callable[..., Path], few_sentences: Path, tmp_path: Path
) -> None:
    """The weights that are quantized are those that fp32 was proved with."""
    source = make_checkpoint("distilbert", tmp_path / "source", n_layers=1)

    def change(step: str) -> None:
        if step == "Comparing fp32 with PyTorch":
            with (source / "config.json").open("a") as file:
                file.write("\n")

    with pytest.raises(CheckpointError, match="source changed while they were exported; export them again"):
        export_bundle(str(source), tmp_path / "out", ExportOptions("int8", (few_sentences,), gate=False), change)
    assert not (tmp_path / "out").exists()


def test_of_a_link_the_bundle_behind_it_is_replaced(tiny: str, existing: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current"
    link.symlink_to(existing)
    export_bundle(tiny, link, ExportOptions(precision="fp32", name="new", overwrite=True))
    assert link.is_symlink()
    assert Bundle.open(existing).manifest.name == "new"
    assert (names(tmp_path / "links"), names(existing.parent)) == (["current"], sorted([existing.name, "links"]))


def test_a_quantized_export_without_calibration_text_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CalibrationTextError, match="int8-avx2 needs text to calibrate on"):
        export_bundle("no such checkpoint", tmp_path / "out", ExportOptions())
    assert names(tmp_path) == []


def test_int8_is_the_default_of_both(int8_bundle: Path) -> None:
    assert list(manifest_of(int8_bundle)["graphs"]) == ["int8", "fp32"]
    assert Predictor.load(int8_bundle).precision == "int8"
    assert Predictor.load(int8_bundle, precision="fp32").precision == "fp32"


def test_every_file_is_in_the_manifest_with_its_hash(int8_bundle: Path) -> None:
    files = {str(path.relative_to(int8_bundle)): path for path in int8_bundle.rglob("*") if path.is_file()}
    manifest_file = files.pop("maskedge.json")
    entries = json.loads(manifest_file.read_text())["files"]
    assert entries == {name: {"sha256": file_sha256(path), "size": path.stat().st_size} for name, path in files.items()}
    assert {"README.md", "config.json", "tokenizer.json", "tokenizer_config.json"} < entries.keys()
    assert {name for name in entries if name.startswith("onnx/")} == {
        f"onnx/{precision}.onnx{suffix}" for precision in ("int8", "fp32") for suffix in ("", ".data")
    } | {"onnx/int8.attention.onnx", "onnx/fp32.attention.onnx"}


def test_bundle_is_readable_by_all_and_no_path_of_this_machine_is_in_it(int8_bundle: Path) -> None:
    assert int8_bundle.stat().st_mode & 0o777 == 0o755
    for name in ("README.md", "maskedge.json", "config.json", "tokenizer_config.json"):
        assert str(int8_bundle.parents[1]) not in (int8_bundle / name).read_text()


def test_golden_vectors_are_what_the_graph_says(int8_bundle: Path) -> None:
    for entry in Bundle.open(int8_bundle).manifest.graphs.values():
        graph = OnnxGraph(int8_bundle / entry.file)
        assert len(entry.golden) == 8
        for vector in entry.golden:
            targets = np.zeros((1, len(vector.mask_positions), 1))
            inputs = graph_inputs([vector.input_ids], [vector.mask_positions], targets, top_k=5)
            outputs = graph.run(["top_ids", "top_logprobs"], inputs)
            assert outputs["top_ids"][0].tolist() == [list(ids) for ids in vector.top_ids]
            np.testing.assert_allclose(outputs["top_logprobs"][0], vector.top_logprobs, atol=1e-6)


@pytest.mark.parametrize("family", ["modernbert"], indirect=True, scope="session")
def test_the_same_export_gives_the_same_bytes_wherever_it_is_written(
    checkpoint: Path, fp32_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parents" / "are" / "made"
    export_bundle(str(checkpoint), out, ExportOptions(precision="fp32"))
    assert list(snapshot(out).values()) == list(snapshot(fp32_bundle).values())


def test_card_says_what_the_hub_needs_and_the_figures_of_the_manifest(int8_bundle: Path) -> None:
    card = ModelCard.load(int8_bundle / "README.md")
    assert (card.data.pipeline_tag, card.data.library_name) == ("fill-mask", "maskedge")
    rows = {row.split(" | ")[0].strip("| "): row.strip("| ").split(" | ")[1:] for row in card.text.splitlines()}
    for column, graph in enumerate(manifest_of(int8_bundle)["graphs"].values()):
        metrics = graph["verification"]
        shown = {label: row[column] for label, row in rows.items() if column < len(row)}
        assert shown["Compared with"] == metrics["reference"]
        assert shown["Masked tokens"] == f"{metrics['cells']:,}"
        assert float(shown["Largest log-prob. difference"]) == pytest.approx(
            metrics["max_logprob_difference"], rel=0.06
        )
        for label, name in (("Mean KL divergence", "mean_kl"), ("Same best token", "top1_agreement")):
            low, high = metrics["intervals"][name]
            numbers = [float(part.strip("()%")) for part in shown[label].split() if part != "to"]
            scale = 100 if "%" in shown[label] else 1
            assert numbers == pytest.approx([scale * figure for figure in (metrics[name], low, high)], rel=0.06)
        assert [float(part) for part in shown["Perplexity"].split(" → ")] == pytest.approx(
            [metrics["reference_perplexity"], metrics["candidate_perplexity"]], abs=0.006
        )


def test_card_takes_over_licence_language_and_text_of_the_source(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_checkpoint("distilbert", tmp_path / "source", n_layers=1)
    (source / "README.md").write_text(
        "---\nlicense: cc-by-sa-4.0\nlanguage: de\n---\n# Source\n\nTrained on {braces}.\n"
    )
    export_bundle(str(source), tmp_path / "out", ExportOptions(precision="fp32", name="mine"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-sa-4.0", "de")
    assert "\n# mine\n" in card.text
    assert "\n## Source\n\nTrained on {braces}." in card.text
    assert Bundle.open(tmp_path / "out").manifest.name == "mine"


def test_without_a_card_of_its_own_the_source_has_no_licence(fp32_bundle: Path) -> None:
    assert ModelCard.load(fp32_bundle / "README.md").data.license is None


def test_a_failed_quantization_names_every_figure_and_writes_nothing(
    tiny: str, few_sentences: Path, tmp_path: Path
) -> None:
    limits = {"fp32": Limits(), "int8-avx2": Limits(mean_kl=0.0, top1_agreement=1.1, perplexity_change=-1.0)}
    with pytest.raises(GateError) as caught:
        export_bundle(tiny, tmp_path / "out", ExportOptions(calibration=(few_sentences,), limits=limits))
    for figure in (
        "mean KL divergence",
        "top-1 disagreement",
        "change in masked perplexity (upper end of its interval)",
    ):
        assert f"int8-avx2: {figure} is " in str(caught.value)
    assert "--no-gate" in str(caught.value)
    assert names(tmp_path) == []


def test_failed_fp32_writes_nothing(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "neighbour").touch()
    with pytest.raises(GateError, match="fp32: largest log-probability difference is"):
        export_bundle(tiny, tmp_path / "out", ExportOptions(precision="fp32", limits=IMPOSSIBLE))
    assert names(tmp_path) == ["neighbour"]


def test_without_the_gate_a_failed_bundle_says_so(tiny: str, tmp_path: Path) -> None:
    options = ExportOptions(precision="fp32", limits=IMPOSSIBLE, gate=False)
    export_bundle(tiny, tmp_path / "out", options)
    verification = manifest_of(tmp_path / "out")["graphs"]["fp32"]["verification"]
    (failure,) = verification["failures"]
    assert not verification["passed"]
    assert "largest log-probability difference" in failure
    card = (tmp_path / "out" / "README.md").read_text()
    assert "failed its gate" in card
    assert failure in card


def test_a_bundle_that_passed_says_so(fp32_bundle: Path) -> None:
    verification = manifest_of(fp32_bundle)["graphs"]["fp32"]["verification"]
    assert (verification["passed"], verification["failures"]) == (True, [])
    assert "failed" not in (fp32_bundle / "README.md").read_text()


def test_existing_bundle_is_kept_unless_told(tiny: str, existing: Path) -> None:
    before = snapshot(existing)
    with pytest.raises(ExportError, match=r"exists; choose another --out, or replace it with --overwrite"):
        export_bundle(tiny, existing, ExportOptions(precision="fp32"))
    assert snapshot(existing) == before


def test_existing_bundle_is_replaced_as_a_whole(tiny: str, existing: Path) -> None:
    export_bundle(tiny, existing, ExportOptions(precision="fp32", name="new", overwrite=True))
    assert Bundle.open(existing).manifest.name == "new"
    assert not (existing / "onnx" / "int8.onnx").exists()
    assert names(existing.parent) == [existing.name]


@pytest.mark.parametrize("is_file", [True, False])
def test_what_is_no_bundle_is_never_overwritten(is_file: bool, tiny: str, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    precious = out if is_file else out / "thesis.txt"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("years of work")
    with pytest.raises(ExportError, match="is no bundle, so it is not overwritten"):
        export_bundle(tiny, out, ExportOptions(precision="fp32", overwrite=True))
    assert precious.read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StagingError, match=r"file/out cannot be written: .*; choose another place"):
        export_bundle(tiny, tmp_path / "file" / "out", ExportOptions(precision="fp32"))


@pytest.mark.parametrize(
    ("step", "error", "out"),
    [
        ("load_checkpoint", RuntimeError, "bundle"),
        ("encoder_graph", RuntimeError, "new"),
        ("encoder_graph", KeyboardInterrupt, "bundle"),
        ("write_manifest", KeyboardInterrupt, "bundle"),
    ],
)
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    step: str, error: type[BaseException], out: str, tiny: str, existing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error("in the middle")

    before = snapshot(existing.parent)
    monkeypatch.setattr(bundling, step, fail)
    with pytest.raises(error, match="in the middle"):
        export_bundle(tiny, existing.with_name(out), ExportOptions(precision="fp32", overwrite=True))
    assert snapshot(existing.parent) == before
    assert names(existing.parent) == [existing.name]


def test_a_failure_while_publishing_restores_the_earlier_bundle(
    tiny: str, existing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail_to_publish(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise KeyboardInterrupt
        return rename(path, target)

    before = snapshot(existing.parent)
    monkeypatch.setattr(Path, "rename", fail_to_publish)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(tiny, existing, ExportOptions(precision="fp32", overwrite=True))
    assert snapshot(existing.parent) == before


def test_a_killed_export_leaves_no_bundle(tiny: str, few_sentences: Path, tmp_path: Path) -> None:
    arguments = ["bundle", tiny, "--out", str(tmp_path / "out"), "--calibration", str(few_sentences)]
    with subprocess.Popen([sys.executable, "-m", "maskedge_export", *arguments], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.*/onnx/fp32.onnx")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    leftovers = names(tmp_path)
    assert leftovers  # it was in the middle
    assert all(name.startswith(".") for name in leftovers)


def test_what_is_to_know_of_a_checkpoint_is_said_and_stands_in_the_card(tmp_path: Path) -> None:
    def wrapped(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {f"module.{name}": weight for name, weight in weights.items()} | {"spam.weight": torch.ones(2)}

    checkpoint = edit_weights(save_checkpoint("bert", tmp_path / "bert"), wrapped)
    steps: list[str] = []
    export_bundle(str(checkpoint), tmp_path / "bundle", ExportOptions(precision="fp32"), steps.append)
    notes = load_checkpoint(str(checkpoint)).notes
    assert len(notes) == 2
    assert steps[1:3] == list(notes)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert card.count("\n- ") >= 2
    assert "Weights of the checkpoint that are no part of its masked language model are left out: spam." in card


def test_a_checkpoint_that_cannot_be_loaded_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError):
        export_bundle(str(tmp_path / "empty"), tmp_path / "deep" / "out", ExportOptions(precision="fp32"))
    assert names(tmp_path) == ["empty"]
