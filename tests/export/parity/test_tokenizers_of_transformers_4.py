"""Text is read as transformers 4 reads it, which older checkpoints were trained with, before an export and after it.

`make test` makes an environment with it in build/peers/optimum.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizer_layouts import (
    BERT_SPECIALS,
    byte_pair_files,
    byte_pairs,
    layout,
    lines,
    sentence_pieces,
    texts,
    vocabulary,
    word_pieces,
)
from tokenizers import Tokenizer

from maskedge_export.tokenization.loading import load_tokenizer
from maskedge_export.tokenization.probe import probe_texts
from maskedge_export.tokenization.saving import save_tokenizer

PYTHON = Path(__file__).parents[3] / "build" / "peers" / "optimum" / "bin" / "python"
SCRIPT = """
import json, sys
from transformers import AutoTokenizer
asked = json.loads(sys.stdin.read())
print(json.dumps([AutoTokenizer.from_pretrained(path)(texts)["input_ids"] for path, texts in asked]))
"""

pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="no build/peers/optimum: make test makes it")


@dataclass(frozen=True, slots=True)
class Read:
    """A directory, texts, and what they are read as."""

    directory: Path
    texts: list[str]
    by_version_4: list[list[int]]
    """Of the directory."""
    by_its_bundle: list[list[int]]
    of_its_bundle: list[list[int]]
    """What version 4 makes of the bundle."""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> list[Read]:
    """Everything, asked of one process."""
    root = tmp_path_factory.mktemp("older")
    asked = []
    for directory in older(root):
        loaded = load_tokenizer(directory)
        save_tokenizer(loaded, directory / "bundle")
        shutil.copy(directory / "config.json", directory / "bundle")
        # spaces at the ends, and what ALBERT makes of line feeds, are where transformers 4 disagrees with itself
        usual = [
            text for text in [*probe_texts(loaded.mask_token), *texts()] if text == text.strip() and "\n" not in text
        ]
        asked.append((directory, usual))
    found = of_version_4([*asked, *((directory / "bundle", usual) for directory, usual in asked)])
    return [
        Read(directory, usual, found[number], of_ours(directory / "bundle", usual), found[len(asked) + number])
        for number, (directory, usual) in enumerate(asked)
    ]


def of_version_4(asked: list[tuple[Path, list[str]]]) -> list[list[list[int]]]:
    """The ids of texts, each list by the tokenizer of a directory."""
    ran = subprocess.run(
        [PYTHON, "-c", SCRIPT],
        input=json.dumps([(str(path), texts) for path, texts in asked]),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    found: list[list[list[int]]] = json.loads(ran.stdout)
    return found


def of_ours(directory: Path, texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return [tokenizer.encode(text).ids for text in texts]


def older(root: Path) -> list[Path]:
    """Directories without tokenizer.json, of every class and with what is stated beside them in the wild."""
    cased = {"vocab.txt": lines(vocabulary(word_pieces(lowercase=False)))}
    uncased = {"vocab.txt": lines(vocabulary(word_pieces(lowercase=True)))}
    pairs = byte_pair_files(byte_pairs(), root / "files")
    fairseq, albert, deberta = (sentence_pieces(family) for family in ("xlm-roberta", "albert", "deberta-v2"))
    mask = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    of: list[tuple[str, Mapping[str, str | bytes], dict[str, Any], dict[str, Any]]] = [
        ("bert", uncased, {}, {}),
        ("bert", cased, {"do_lower_case": False}, {}),
        ("electra", uncased, {"strip_accents": False}, {"added_tokens.json": {"[NEW]": len(_lines(uncased))}}),
        ("distilbert", cased, {"do_lower_case": False, "max_len": 512}, {}),
        ("mobilebert", uncased, {"tokenize_chinese_chars": False}, {}),
        ("mpnet", {"vocab.txt": _as_fairseq(uncased)}, {}, {}),
        ("roberta", pairs, {}, {}),
        ("roberta", pairs, {"model_max_length": 512}, {"added_tokens.json": {"<new>": 700}}),
        ("roberta", pairs, {"add_prefix_space": True}, {"special_tokens_map.json": {"mask_token": "<mask>"}}),
        ("longformer", pairs, {}, {"special_tokens_map.json": {"mask_token": mask}}),
        ("bart", pairs, {}, {}),
        ("xlm-roberta", {"sentencepiece.bpe.model": fairseq}, {}, {}),
        ("camembert", {"sentencepiece.bpe.model": fairseq}, {"model_max_length": 512}, {}),
        ("albert", {"spiece.model": albert}, {}, {}),
        ("albert", {"spiece.model": albert}, {"do_lower_case": False, "keep_accents": True}, {}),
        ("fnet", {"spiece.model": albert}, {}, {}),
        ("big_bird", {"spiece.model": albert}, {}, {}),
        ("deberta-v2", {"spm.model": deberta}, {"do_lower_case": False, "vocab_type": "spm"}, {}),
    ]
    directories = []
    for number, (model_type, files, stated, beside) in enumerate(of):
        directory = layout(root / f"{model_type}-{number}", model_type, files, **stated)
        for name, content in beside.items():
            (directory / name).write_text(json.dumps(content), encoding="utf-8")
        directories.append(directory)
    return directories


def _lines(files: dict[str, str]) -> list[str]:
    return files["vocab.txt"].splitlines()


def _as_fairseq(files: dict[str, str]) -> str:
    ordinary = [token for token in _lines(files) if token not in BERT_SPECIALS]
    return lines(["<s>", "<pad>", "</s>", "[UNK]", *ordinary, "<mask>"])


def test_older_directories_are_read_as_by_transformers_4(read: list[Read]) -> None:
    assert len(read) == 18
    for each in read:
        for text, theirs, ours in zip(each.texts, each.by_version_4, each.by_its_bundle, strict=True):
            assert ours == theirs, (each.directory.name, text)


def test_transformers_4_reads_bundles_as_we_do(read: list[Read]) -> None:
    """As Optimum does, with the standard graphs."""
    for each in read:
        assert each.of_its_bundle == each.by_its_bundle, each.directory.name
