"""Checkpoints: what loads, what is refused and with which words; nothing is ever unpickled, no remote code ever run."""

import builtins
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import transformers
from huggingface_hub.utils._paths import filter_repo_objects
from tiny_families import make_model, make_tokenizer, save_checkpoint
from tokenizers import Tokenizer

from maskedge import Predictor
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.families import native_encoder
from maskedge_export.errors import CheckpointError, UnsupportedModelError
from maskedge_export.graphs.onnx_export import encoder_graph


@pytest.fixture
def broken(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint of one's own, to damage."""
    return make_checkpoint("bert", tmp_path / "broken")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A file that comes to exist where somebody runs a checkpoint's code."""
    return tmp_path / "sprung"


class Trap:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (os.mkdir, (str(self.path),))


LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 267954768\n"


def edit_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refusal(path: Path | str, kind: type[Exception] = CheckpointError) -> str:
    """The message with which a checkpoint is refused: no longer than a few lines, naming it."""
    with pytest.raises(kind) as caught:
        load_checkpoint(str(path))
    assert type(caught.value) is kind
    message = str(caught.value)
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_weights_load_as_fp32(
    dtype: torch.dtype, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    model = make_model("bert").to(dtype)
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(checkpoints("bert")).save_pretrained(tmp_path)
    weights = load_checkpoint(str(tmp_path)).encoder.state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    embedding = model.get_input_embeddings().weight
    assert embedding.dtype == dtype
    assert torch.equal(weights["embedding.tokens.weight"], embedding.float())


def test_sharded_weights_are_those_of_one_file(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    make_model("bert").save_pretrained(tmp_path, max_shard_size="20KB")
    transformers.AutoTokenizer.from_pretrained(checkpoints("bert")).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    sharded, whole = load_checkpoint(str(tmp_path)).encoder, load_checkpoint(str(checkpoints("bert"))).encoder
    for name, tensor in whole.state_dict().items():
        assert torch.equal(sharded.state_dict()[name], tensor), name


def test_a_missing_shard_is_named(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    make_model("bert").save_pretrained(broken, max_shard_size="20KB")
    shard = sorted(broken.glob("*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refusal(broken)


@pytest.mark.parametrize("family", ["bert", "modernbert", "megatron-bert"], scope="function")
@pytest.mark.parametrize("tied", [True, False])
def test_encoder_shares_the_models_memory(family: str, tied: bool, tmp_path: Path) -> None:
    """Else a model would take twice its size to export."""
    loaded = load_checkpoint(str(save_checkpoint(family, tmp_path / family, tie_word_embeddings=tied)))
    own = {tensor.untyped_storage().data_ptr() for tensor in loaded.model.state_dict().values()}
    copied = [
        tensor for tensor in loaded.encoder.state_dict().values() if tensor.untyped_storage().data_ptr() not in own
    ]
    assert len(copied) <= 1
    assert all(tensor.shape == (48, 32) for tensor in copied)  # BERT's positions, with the token type added
    model: Any = loaded.model
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    assert (len({table.weight.data_ptr() for table in tables}) == 1) is tied


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """A checkpoint whose vocabulary was padded to a round number with rows that are more probable than all others."""
    save_checkpoint("bert", tmp_path / "padded")
    tokens = len(make_tokenizer("bert"))
    model = make_model("bert", vocab_size=tokens + 24)
    with torch.no_grad():
        model.cls.predictions.decoder.bias[tokens:] += 3.0
    model.save_pretrained(tmp_path / "padded")
    return tmp_path / "padded"


@pytest.mark.slow
def test_padded_rows_keep_their_probability_but_are_never_returned(padded: Path, tmp_path: Path) -> None:
    """transformers' pipeline returns them, as tokens that are no text; what it says of the others stays the same."""
    tokens = len(make_tokenizer("bert"))
    export_bundle(str(padded), tmp_path / "bundle", ExportOptions(precision="fp32"))
    predictor = Predictor.load(tmp_path / "bundle")
    assert predictor.bundle.manifest.vocab_size == tokens
    pipeline = transformers.pipeline("fill-mask", model=str(padded), tokenizer=str(padded))
    expected = pipeline("The sun is [MASK].", top_k=tokens + 24)
    assert expected[0]["token"] >= tokens
    assert expected[0]["token_str"] == ""
    known = {row["token"]: row["score"] for row in expected if row["token"] < tokens}
    actual = {row["token"]: row["score"] for row in predictor("The sun is [MASK].", top_k=tokens)}
    assert actual == pytest.approx(known, abs=1e-5)
    assert next(iter(actual)) == next(iter(known))


@pytest.mark.slow
def test_added_tokens_far_from_the_others_are_read_and_predicted(tmp_path: Path) -> None:
    """XLM-R's mask stands alone at the end of the vocabulary, with unused ids before it."""
    tokenizer, at = _with_mask_at(make_tokenizer("bert"), 450)
    model = make_model("bert", vocab_size=at + 1)
    model.save_pretrained(tmp_path / "far")
    tokenizer.save_pretrained(tmp_path / "far")
    export_bundle(str(tmp_path / "far"), tmp_path / "bundle", ExportOptions(precision="fp32"))
    predictor = Predictor.load(tmp_path / "bundle")
    assert predictor.encoder.mask_id == at
    pipeline = transformers.pipeline("fill-mask", model=str(tmp_path / "far"), tokenizer=str(tmp_path / "far"))
    for theirs, ours in zip(pipeline("the <blank> sea"), predictor("the <blank> sea"), strict=True):
        assert (ours["token"], ours["token_str"]) == (theirs["token"], theirs["token_str"])
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)


def _with_mask_at(tokenizer: Any, target: int) -> tuple[Any, int]:
    """The tokenizer with a mask token of its own, `<blank>`, whose id is far behind the others."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    last = {**content["added_tokens"][-1], "id": target, "content": "<blank>", "special": True}
    content["added_tokens"].append(last)
    content["model"]["vocab"]["<blank>"] = target
    backend = Tokenizer.from_str(json.dumps(content))
    names = {name: getattr(tokenizer, name) for name in ("cls_token", "sep_token", "pad_token", "unk_token")}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<blank>", **names)
    return fast, fast.mask_token_id


def test_tokens_that_were_added_without_rows_are_refused(broken: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(broken)
    tokenizer.add_tokens(["quux"])
    tokenizer.save_pretrained(broken)
    assert "has the id 400 ('quux'), but the model only 400 rows" in refusal(broken)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [30_522, 119_547, 250_002])
def test_vocabularies_of_every_usual_size(rows: int, masked_ids: Callable[..., Any], tmp_path: Path) -> None:
    model = make_model("bert", vocab_size=rows, num_hidden_layers=1)
    ir.save(encoder_graph(native_encoder(model.config, model.state_dict())), tmp_path / "graph.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    ids, positions = masked_ids(rows)
    ids[0, 5] = rows - 1
    (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "mask_positions": positions.numpy()})
    with torch.no_grad():
        everywhere = model(ids).logits
    expected = torch.stack([row[at] for row, at in zip(everywhere, positions, strict=True)])
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=0)


def test_fingerprint_is_the_weights(checkpoints: Callable[[str], Path], broken: Path) -> None:
    before = load_checkpoint(str(broken)).fingerprint
    assert before == load_checkpoint(str(checkpoints("bert"))).fingerprint  # same weights elsewhere
    content = bytearray((broken / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "model.safetensors").write_bytes(content)
    assert load_checkpoint(str(broken)).fingerprint != before


def test_no_config(broken: Path) -> None:
    (broken / "config.json").unlink()
    assert "holds no config.json" in refusal(broken)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_type": '])
def test_malformed_config(content: str, broken: Path) -> None:
    (broken / "config.json").write_text(content)
    assert "config.json is no JSON object with a model_type" in refusal(broken)


@pytest.mark.parametrize("hidden_size", ["many", 64])
def test_config_that_does_not_fit(hidden_size: Any, broken: Path) -> None:
    edit_json(broken / "config.json", hidden_size=hidden_size)
    assert f"transformers cannot load {broken}" in refusal(broken)


def test_pickled_weights_are_refused_and_never_loaded(broken: Path, trap: Path) -> None:
    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(trap)))
    message = refusal(broken)
    assert "no *.safetensors weights" in message
    assert "never loaded: pytorch_model.bin" in message
    assert not trap.exists()


def test_pickled_weights_beside_other_safetensors_are_not_loaded(broken: Path, trap: Path) -> None:
    (broken / "model.safetensors").rename(broken / "adapter.safetensors")
    (broken / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(trap)))
    assert "holds neither model.safetensors nor model.safetensors.index.json" in refusal(broken)
    assert not trap.exists()


@pytest.mark.parametrize("size", [0, 1000, 40_000])
def test_truncated_weights(size: int, broken: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert f"{file}, {size} bytes, is no whole safetensors file" in refusal(broken)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"],
)
def test_a_git_lfs_pointer_in_place_of_a_file_is_named_with_what_fetches_it(name: str, broken: Path) -> None:
    (broken / name).write_text(LFS_POINTER)
    message = refusal(broken)
    assert message.startswith(f"{broken / name} is a Git LFS pointer")
    assert f"git lfs pull in {broken}" in message


def test_git_lfs_pointers_among_shards_and_files_that_nobody_reads(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    make_model("bert").save_pretrained(broken, max_shard_size="20KB")
    for name in ("tf_model.h5", "pytorch_model.bin", "vocab.txt", "other.safetensors", "README.md"):
        (broken / name).write_text(LFS_POINTER)
    load_checkpoint(str(broken))
    shard = sorted(broken.glob("model-*.safetensors"))[1]
    shard.write_text(LFS_POINTER)
    assert refusal(broken).startswith(f"{shard} is a Git LFS pointer")
    (broken / "model.safetensors.index.json").write_text(LFS_POINTER)
    assert refusal(broken).startswith(f"{broken / 'model.safetensors.index.json'} is a Git LFS pointer")


@pytest.mark.parametrize(
    ("tokenizer_class", "files"),
    [
        ("BertTokenizer", ["vocab.txt"]),
        ("RobertaTokenizer", ["vocab.json", "merges.txt"]),
        ("XLMRobertaTokenizer", ["sentencepiece.bpe.model"]),
        ("EsmTokenizer", ["vocab.txt"]),
    ],
)
def test_git_lfs_pointers_in_place_of_vocabularies(tokenizer_class: str, files: list[str], broken: Path) -> None:
    (broken / "tokenizer.json").unlink()
    edit_json(broken / "tokenizer_config.json", tokenizer_class=tokenizer_class)
    for pointer in files:
        for name in files:
            (broken / name).write_text(LFS_POINTER if name == pointer else "")
        assert refusal(broken).startswith(f"{broken / pointer} is a Git LFS pointer")


def test_head_that_was_never_trained(broken: Path) -> None:
    transformers.BertModel(make_model("bert").config).save_pretrained(broken)
    message = refusal(broken)
    assert "lacks 6 weights of a masked language model" in message
    assert "cls.predictions" in message


def test_no_tokenizer(broken: Path) -> None:
    for file in broken.glob("tokenizer*"):
        file.unlink()
    assert "holds no tokenizer" in refusal(broken)


@pytest.mark.parametrize("content", ["", "{}", "{"])
def test_malformed_tokenizer(content: str, broken: Path) -> None:
    (broken / "tokenizer.json").write_text(content)
    assert f"{broken / 'tokenizer.json'} is no tokenizer that tokenizers" in refusal(broken)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": "\xff"}'])
def test_malformed_settings_of_a_tokenizer(content: str, broken: Path) -> None:
    (broken / "tokenizer_config.json").write_bytes(content.encode("latin-1"))
    assert refusal(broken).startswith(str(broken / "tokenizer_config.json"))


def test_tokenizer_without_a_mask(broken: Path) -> None:
    backend = transformers.AutoTokenizer.from_pretrained(broken).backend_tokenizer
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(broken)
    assert "has no mask token" in refusal(broken)


@pytest.mark.parametrize("model_type", ["xlnet", "gpt2", "made-up", None])
def test_what_is_no_masked_language_model_is_refused_with_those_that_are(model_type: str | None, broken: Path) -> None:
    edit_json(broken / "config.json", model_type=model_type)
    message = refusal(broken, UnsupportedModelError)
    assert f"model type {model_type!r} of {broken / 'config.json'} is no masked language model" in message
    assert "albert, bart, bert" in message


def test_remote_code_is_never_run(broken: Path, trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (broken / "code.py").write_text(f"import os\nos.mkdir({str(trap)!r})\nclass C: pass\n")
    remote = {"AutoConfig": "code.C", "AutoModelForMaskedLM": "code.C"}
    edit_json(broken / "config.json", auto_map=remote)
    edit_json(broken / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.C", "code.C"]}, tokenizer_class="C")
    monkeypatch.setattr(builtins, "input", lambda *_: "y")  # what transformers asks before it runs such code
    message = refusal(broken, UnsupportedModelError)
    assert "config.json names code of the checkpoint's own (auto_map), which is never run" in message
    edit_json(broken / "config.json", auto_map={})
    load_checkpoint(str(broken))  # the tokenizer's code has a place of its own
    edit_json(broken / "config.json", model_type="made-up", auto_map=remote)
    refusal(broken, UnsupportedModelError)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["no/such/directory", "./missing", "a name", "x" * 200])
def test_what_is_neither_a_directory_nor_a_hub_id(name: str) -> None:
    assert refusal(name) == f"{name!r} is neither a directory nor a Hub id such as 'org/name'"


@pytest.mark.slow
def test_hub_id_while_offline() -> None:
    code = "import sys; from maskedge_export.__main__ import main; sys.argv = ['mlm-export', *sys.argv[1:]]; main()"
    arguments = ["bundle", "nobody/no-such-model", "--out", "never-written", "--precision", "fp32"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "'nobody/no-such-model' is no directory here and cannot be had from the Hub" in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("never-written").exists()


@pytest.fixture
def hub(checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Hub that answers every id with the tiny BERT; the arguments it was asked with."""
    asked: dict[str, Any] = {}

    def snapshot_download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(checkpoints("bert"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_hub_id_is_the_checkpoints_name(hub: dict[str, Any]) -> None:
    loaded = load_checkpoint("org/tiny", revision="v1")
    assert loaded.name == "org/tiny"
    assert (hub["repo_id"], hub["revision"]) == ("org/tiny", "v1")


def test_only_files_that_cannot_hold_code_are_downloaded(hub: dict[str, Any]) -> None:
    load_checkpoint("org/tiny")
    wanted = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
    wanted += ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "merges.txt", "spiece.model", "README.md"]
    dangerous = ["pytorch_model.bin", "model.pt", "model.pth", "x.pkl", "modeling.py", "tf_model.h5", "model.ckpt"]
    dangerous += [f"sub/{name}" for name in dangerous]
    assert list(filter_repo_objects(wanted + dangerous, allow_patterns=hub["allow_patterns"])) == wanted


UNSUPPORTED_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("bert", {"hidden_act": "quick_gelu"}, "activation 'quick_gelu' is not supported"),
    ("modernbert", {"mlp_bias": True}, "bias in only one of attention and MLP"),
    (
        "modernbert",
        {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}},
        r"scaled rotary embeddings \(full_attention\) are not supported",
    ),
]


@pytest.mark.parametrize(("family", "options", "message"), UNSUPPORTED_OPTIONS, ids=str, scope="function")
def test_unsupported_option_is_named(family: str, options: dict[str, Any], message: str) -> None:
    model = make_model(family)
    if "rope_parameters" in options:
        options = {"rope_parameters": {**model.config.rope_parameters, **options["rope_parameters"]}}
    config = SimpleNamespace(**{**model.config.to_dict(), "sliding_window": 4, **options})
    with pytest.raises(UnsupportedModelError, match=message):
        native_encoder(config, model.state_dict())
