"""The tiny bundle with something about it that few models have."""

import json
import re
import shutil
import struct
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from maskedge.bundle.format import MANIFEST_NAME, file_sha256

__all__ = ["ban_tokens", "break_position", "without_attention", "without_unknown", "wordless_tokenizer"]

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
HIDDEN, FLOAT = 32, 4
"""Numbers of a position's embedding, and bytes of each."""


def without_unknown(out: Path) -> Path:
    """Its tokenizer is `wordless_tokenizer()`."""
    bundle = _copy(out)
    wordless_tokenizer().save(str(bundle / "tokenizer.json"))
    (bundle / "tokenizer_config.json").write_text("{}")
    return _sealed(bundle, mask_token="<mask>")


def without_attention(out: Path) -> Path:
    """It has no graphs of attention, as bundles of earlier versions."""
    return _sealed(_copy(out), attention={})


def wordless_tokenizer() -> Tokenizer:
    """A SentencePiece-like one of a few words, without an unknown token: any other character stops it."""
    words = ["▁", "▁the", "▁water", "▁cat", "s", "."]
    letters = sorted(set("thewarcs") - {"s"})
    pieces = [(piece, -1.0 - number) for number, piece in enumerate([*words, *letters])]
    tokenizer = Tokenizer(models.Unigram(pieces))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True, normalized=False)])
    ends = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def ban_tokens(out: Path, *tokens: int) -> Path:
    """The bias of these tokens is -infinity, as of a checkpoint whose vocabulary has rows that were ruled out."""
    bundle = _copy(out)
    for token in tokens:
        _write_floats(bundle, "int8", "head.decoder.bias", token, [float("-inf")])
    return _sealed(bundle)


def break_position(out: Path, position: int) -> Path:
    """A position's embedding is NaN: so is all that the model says of texts that are longer. It is in fp32 alone, since
    a NaN that is quantized becomes some number."""
    bundle = _copy(out)
    _write_floats(bundle, "fp32", "embedding.positions.weight", position * HIDDEN, [float("nan")] * HIDDEN)
    graphs = json.loads((bundle / MANIFEST_NAME).read_text(encoding="utf-8"))["graphs"]
    return _sealed(bundle, graphs={"fp32": graphs["fp32"]})


def _copy(out: Path) -> Path:
    return Path(shutil.copytree(BUNDLE, out))


def _write_floats(bundle: Path, precision: str, weight: str, start: int, values: list[float]) -> None:
    """Writes over a weight's values in the file beside the graph, whose protobuf says where the weight begins."""
    graph = (bundle / "onnx" / f"{precision}.onnx").read_bytes()
    found = re.search(rb"%b[^\x00]{0,60}?offset\x12.(\d+)" % re.escape(weight.encode()), graph, re.DOTALL)
    assert found is not None, weight
    with (bundle / "onnx" / f"{precision}.onnx.data").open("r+b") as data:
        data.seek(int(found[1]) + start * FLOAT)
        data.write(struct.pack(f"<{len(values)}f", *values))


def _sealed(bundle: Path, **changes: object) -> Path:
    """With a manifest that says so."""
    path = bundle / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8")) | changes
    for name in manifest["files"]:
        file = bundle / name
        manifest["files"][name] = {"sha256": file_sha256(file), "size": file.stat().st_size}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return bundle
