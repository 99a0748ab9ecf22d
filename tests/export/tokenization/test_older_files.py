"""Directories without tokenizer.json: their text is read as by what made their files, not as transformers 5 does."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizer_layouts import (
    BERT_SPECIALS,
    byte_pair_files,
    byte_pairs,
    layout,
    lines,
    processor,
    sentence_pieces,
    texts,
    vocabulary,
    word_pieces,
)
from tokenizers import Tokenizer
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from maskedge_export.errors import CheckpointError
from maskedge_export.tokenization.loading import load_tokenizer, read_tokenizer
from maskedge_export.tokenization.probe import PROBE, probe_texts

MORE = [
    "Don't shout, PLEASE: café, CAFÉ, cafe\u0301!",
    "It cost 12,50 or 3.14 in 1984, 10,000 in 2024.",
    "漢字とかな、 한국어",
    "snake_case, ``quoted'' (twice)",
]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text).ids
    return found


def refusal(directory: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message
    return message


# Word pieces


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "electra", "mobilebert", "ernie", "layoutlm"])
@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
    ],
    ids=str,
)
def test_word_pieces_are_split_as_by_the_original_code(model_type: str, stated: dict[str, Any], tmp_path: Path) -> None:
    both = dict.fromkeys([*vocabulary(word_pieces(lowercase=False)), *vocabulary(word_pieces(lowercase=True))])
    tokens = list(both) if "do_lower_case" in stated else vocabulary(word_pieces(lowercase=True))
    directory = layout(tmp_path / "d", model_type, {"vocab.txt": lines(tokens)}, **stated)
    original = BertTokenizerLegacy(str(directory / "vocab.txt"), **stated)
    tokenizer = read_tokenizer(directory)
    for text in [*probe_texts("[MASK]"), *texts()[-40:], *MORE]:
        assert ids(tokenizer, text) == original(text)["input_ids"], text


def test_a_vocabulary_with_capitals_is_not_lower_cased_unless_that_is_stated(tmp_path: Path) -> None:
    """transformers 4 did so in silence, with a directory of bert-base-cased's vocabulary alone."""
    files = {"vocab.txt": lines([*BERT_SPECIALS, "the", "The", "sea", "##s", "Sea"])}
    message = refusal(layout(tmp_path / "d", "bert", files))
    assert "does not state do_lower_case, without which a BertTokenizer lower-cases text" in message
    for stated in (True, False):
        tokenizer = read_tokenizer(layout(tmp_path / f"{stated}", "bert", files, do_lower_case=stated))
        assert (ids(tokenizer, "The") == ids(tokenizer, "the")) is stated


def test_of_a_word_piece_that_stands_twice_the_last_line_counts_and_line_separators_are_pieces(tmp_path: Path) -> None:
    pieces = [*BERT_SPECIALS, "the", "\u2028", "sea", "the"]
    directory = layout(tmp_path / "d", "bert", {"vocab.txt": "\r\n".join(pieces)})
    assert ids(read_tokenizer(directory), "the sea") == [2, 8, 7, 3]


def test_mpnet_s_mask_takes_the_space_before_it(tmp_path: Path) -> None:
    ordinary = [token for token in vocabulary(word_pieces(lowercase=True)) if token not in BERT_SPECIALS]
    vocabulary_file = lines(["<s>", "<pad>", "</s>", "[UNK]", *ordinary, "<mask>"])
    tokenizer = read_tokenizer(layout(tmp_path / "d", "mpnet", {"vocab.txt": vocabulary_file}))
    assert tokenizer.encode("The  <mask> flows").offsets[1:3] == [(0, 3), (3, 11)]
    assert ids(tokenizer, "THE<mask>")[:3] == [0, tokenizer.token_to_id("the"), tokenizer.token_to_id("<mask>")]


# Byte pairs


@pytest.mark.parametrize("model_type", ["roberta", "data2vec-text", "bart", "longformer", "ibert", "mvp", "luke"])
@pytest.mark.parametrize("stated", [{}, {"model_max_length": 512}, {"mask_token": "<mask>"}], ids=str)
def test_the_space_before_a_mask_belongs_to_it(model_type: str, stated: dict[str, Any], tmp_path: Path) -> None:
    expected = byte_pairs()
    directory = layout(tmp_path / "d", model_type, byte_pair_files(expected, tmp_path / "files"), **stated)
    tokenizer = read_tokenizer(directory)
    for text in [*probe_texts("<mask>"), *texts()[-40:], *MORE]:
        assert ids(tokenizer, text) == ids(expected, text), text
        assert tokenizer.encode(text).offsets == expected.encode(text).offsets, text
    assert "Ġ" not in tokenizer.encode("The <mask> of").tokens


def test_texts_that_begin_with_a_space(tmp_path: Path) -> None:
    expected = byte_pairs(add_prefix_space=True)
    files = byte_pair_files(expected, tmp_path / "files")
    tokenizer = read_tokenizer(layout(tmp_path / "d", "roberta", files, add_prefix_space=True))
    for text in [*probe_texts("<mask>"), *MORE]:
        assert ids(tokenizer, text) == ids(expected, text), text


@pytest.mark.parametrize("where", ["special_tokens_map", "added_tokens_decoder"])
@pytest.mark.parametrize("takes_space", [True, False])
def test_flags_of_a_mask_that_are_stated_are_obeyed(where: str, takes_space: bool, tmp_path: Path) -> None:
    directory = layout(tmp_path / "d", "roberta", byte_pair_files(byte_pairs(), tmp_path / "files"))
    mask = {"content": "<mask>", "lstrip": takes_space, "rstrip": False, "normalized": False, "single_word": False}
    if where == "special_tokens_map":
        (directory / "special_tokens_map.json").write_text(json.dumps({"mask_token": mask}))
    else:
        stated = {"mask_token": "<mask>", "added_tokens_decoder": {"4": {**mask, "special": True}}}
        (directory / "tokenizer_config.json").write_text(json.dumps(stated))
    assert ("Ġ" not in read_tokenizer(directory).encode("The <mask> of").tokens) is takes_space


def test_a_list_of_added_tokens_does_not_take_the_space_from_a_mask(tmp_path: Path) -> None:
    """It has ids, and says nothing of flags."""
    directory = layout(tmp_path / "d", "roberta", byte_pair_files(byte_pairs(), tmp_path / "files"))
    (directory / "added_tokens.json").write_text(json.dumps({"<mask>": 4, "<new>": 700}))
    tokenizer = read_tokenizer(directory)
    assert "Ġ" not in tokenizer.encode("The <mask> of").tokens
    assert tokenizer.token_to_id("<new>") == 700


def test_an_added_token_with_another_id_is_refused(tmp_path: Path) -> None:
    """transformers gives it the next id in silence, whatever was trained."""
    directory = layout(tmp_path / "d", "roberta", byte_pair_files(byte_pairs(), tmp_path / "files"))
    (directory / "added_tokens.json").write_text(json.dumps({"<new>": 900}))
    assert "contradicts itself: the token '<new>', added with the id 900, has the id 700" in refusal(directory)


def test_merges_of_another_vocabulary_are_named(tmp_path: Path) -> None:
    files = byte_pair_files(byte_pairs(), tmp_path / "files")
    directory = layout(tmp_path / "d", "roberta", {**files, "merges.txt": "#version: 0.2\nqq zz\n"})
    assert f"{directory / 'merges.txt'} does not fit" in refusal(directory)


def test_a_json_file_that_is_no_vocabulary_is_named(tmp_path: Path) -> None:
    files = byte_pair_files(byte_pairs(), tmp_path / "files")
    directory = layout(tmp_path / "d", "roberta", {**files, "vocab.json": byte_pairs().to_str()})
    assert f"{directory / 'vocab.json'} is no vocabulary" in refusal(directory)


# Sentence pieces


def expected_ids(family: str, model: bytes, text: str, *, lowercase: bool = False) -> list[int]:
    """A text without masks, by the library itself and the offsets of each family's ids."""
    library = processor(model)
    pieces = library.encode(text.lower() if lowercase else text)
    if family == "xlm-roberta":
        return [0, *(3 if piece == 0 else piece + 1 for piece in pieces), 2]
    if family == "camembert":
        return [5, *(3 if piece == 0 else piece + 4 for piece in pieces), 6]
    ends = {"albert": (2, 3), "deberta-v2": (1, 2), "big_bird": (2, 3), "fnet": (2, 3), "rembert": (2, 3)}[family]
    return [ends[0], *pieces, ends[1]]


FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "xlm-roberta": ("sentencepiece.bpe.model", "xlm-roberta", {}),
    "camembert": ("sentencepiece.bpe.model", "xlm-roberta", {}),
    "albert": ("spiece.model", "albert", {"do_lower_case": False, "keep_accents": True}),
    "fnet": ("spiece.model", "albert", {}),
    "big_bird": ("spiece.model", "albert", {}),
    "rembert": ("sentencepiece.model", "albert", {}),
    "deberta-v2": ("spm.model", "deberta-v2", {"do_lower_case": False, "vocab_type": "spm"}),
}
"""A family's model file, how it is trained, and what its tokenizer_config.json states."""
PLAIN = [text for text in [*PROBE, *texts()[-40:], *MORE] if not {"`", "'", '"'} & set(text)]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sentence_pieces_are_split_as_by_the_library_itself(family: str, model_type: str, tmp_path: Path) -> None:
    file, trained_as, stated = FAMILIES[family]
    model = sentence_pieces(trained_as, model_type=model_type)
    tokenizer = read_tokenizer(layout(tmp_path / "d", family, {file: model}, **stated))
    for text in PLAIN:
        if not any(character.isdigit() for character in text):  # ALBERT's code splits what ends in a digit and a comma
            assert ids(tokenizer, text) == expected_ids(family, model, text), text


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_beside_sentence_pieces(family: str, tmp_path: Path) -> None:
    file, trained_as, stated = FAMILIES[family]
    model = sentence_pieces(trained_as)
    loaded = load_tokenizer(layout(tmp_path / "d", family, {file: model}, **stated))
    mask, tokenizer = loaded.mask_token, loaded.backend_tokenizer
    before, after = (expected_ids(family, model, text)[1:-1] for text in ("The capital", "of France"))
    for spaced in (f"The capital {mask} of France", f"The capital{mask} of France"):
        content = tokenizer.encode(spaced, add_special_tokens=False).ids
        assert content == [*before, loaded.mask_token_id, *after], spaced


@pytest.mark.parametrize("normalization", ["identity", "nfkc", "nmt_nfkc", "nmt_nfkc_cf"])
def test_sentence_piece_s_own_normalization_is_kept(normalization: str, tmp_path: Path) -> None:
    model = sentence_pieces("xlm-roberta", normalization_rule_name=normalization)
    tokenizer = read_tokenizer(layout(tmp_path / "d", "xlm-roberta", {"sentencepiece.bpe.model": model}))
    for text in PLAIN:
        assert ids(tokenizer, text) == expected_ids("xlm-roberta", model, text), text


@pytest.mark.parametrize(
    "options",
    [
        {"byte_fallback": True, "vocab_size": 700},
        {"add_dummy_prefix": False},
        {"user_defined_symbols": "Paris,<sep>"},
    ],
    ids=str,
)
def test_sentence_piece_s_own_options_are_kept(options: dict[str, Any], tmp_path: Path) -> None:
    model = sentence_pieces("xlm-roberta", **options)
    tokenizer = read_tokenizer(layout(tmp_path / "d", "xlm-roberta", {"sentencepiece.bpe.model": model}))
    for text in [*PLAIN, "To <sep> in Paris<sep>", "Paris"]:
        assert ids(tokenizer, text) == expected_ids("xlm-roberta", model, text), text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_type": "char"}, "is a SentencePiece model of type 4"),
        ({"model_type": "word", "vocab_size": 700}, "is a SentencePiece model of type 3"),
        ({"remove_extra_whitespaces": False}, "splits text in a way that no tokenizer.json does: of '  Two"),
        ({"model_type": "bpe", "user_defined_symbols": "<sep>"}, "does: of 'a <sep> b<sep>c <sep>'"),
        ({"treat_whitespace_as_suffix": True}, "splits text in a way that no tokenizer.json does: of 'The capital"),
    ],
    ids=str,
)
def test_what_no_tokenizer_json_can_say_of_a_sentence_piece_model_is_refused(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    model = sentence_pieces("xlm-roberta", **options)
    directory = layout(tmp_path / "d", "xlm-roberta", {"sentencepiece.bpe.model": model})
    assert said in refusal(directory)


def test_albert_lower_cases_and_strips_accents_unless_it_is_told_not_to(tmp_path: Path) -> None:
    model = sentence_pieces("albert")
    tokenizer = read_tokenizer(layout(tmp_path / "d", "albert", {"spiece.model": model}))
    assert ids(tokenizer, "THE École française") == expected_ids("albert", model, "the ecole francaise")
    assert ids(tokenizer, "``a\n\t b''") == expected_ids("albert", model, '"a b"')


def test_albert_takes_commas_off_numbers(tmp_path: Path) -> None:
    model = sentence_pieces("albert", user_defined_symbols='"5,"')
    assert "5," in processor(model).encode("in 1995, the", out_type=str)
    tokenizer = read_tokenizer(layout(tmp_path / "d", "albert", {"spiece.model": model}))
    tokens = tokenizer.encode("in 1995, the").tokens
    assert tokens[tokens.index(",") - 1] == "5"
    assert "5," not in tokens


def test_deberta_splits_at_punctuation_where_that_is_stated(tmp_path: Path) -> None:
    model = sentence_pieces("deberta-v2")
    directory = layout(tmp_path / "d", "deberta-v2", {"spm.model": model}, split_by_punct=True, do_lower_case=True)
    library = processor(model)
    alone = [library.encode(word) for word in ("he said", ",", "the sea", ".")]
    assert ids(read_tokenizer(directory), "He said, THE sea.") == [1, *(i for word in alone for i in word), 2]


def test_a_sentence_piece_model_under_another_name_is_found(tmp_path: Path) -> None:
    model = sentence_pieces("xlm-roberta")
    directory = layout(tmp_path / "d", "xlm-roberta", {"my.model": model})
    assert ids(read_tokenizer(directory), "the sea") == expected_ids("xlm-roberta", model, "the sea")


def test_a_file_that_is_no_sentence_piece_model_is_named(tmp_path: Path) -> None:
    directory = layout(tmp_path / "d", "albert", {"spiece.model": b"<!DOCTYPE html>"})
    assert f"{directory / 'spiece.model'} is no SentencePiece model" in refusal(directory)


def test_without_the_library_it_is_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    directory = layout(tmp_path / "d", "albert", {"spiece.model": sentence_pieces("albert")})
    message = refusal(directory)
    assert "pip install sentencepiece protobuf" in message
    assert "tiktoken" not in message


# Residues


RESIDUES = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>"]
PAIRS = ["<cls>", "<pad>", "<eos>", "<unk>", *(a + b for a in "ACDEFG" for b in "acd#"), "<mask>"]


@pytest.mark.parametrize("entries", [RESIDUES, PAIRS], ids=["ESM-2", "SaProt"])
def test_esm_reads_residues_as_its_own_python_does(entries: list[str], tmp_path: Path) -> None:
    directory = layout(tmp_path / "d", "esm", {"vocab.txt": "\n".join(entries)})
    original = transformers.EsmTokenizer(str(directory / "vocab.txt"))
    tokenizer = read_tokenizer(directory)
    for text in [
        "MKTAYIAKQRQISFVKSHFSRQ",
        "MK <mask> AY<mask>I",
        "MKT aY?I-.<null_1> J",
        "AaCcDdE#<mask>Fc",
        "Aa Xx C#",
        "",
        " M\nK ",
        *PROBE,
    ]:
        assert ids(tokenizer, text) == original(text)["input_ids"], text


# What cannot be read


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("roberta", "PhobertTokenizer"), ("bert", "BertJapaneseTokenizer"), ("roberta", "BertweetTokenizer")],
)
@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_a_tokenizer_in_python_only_is_named_with_the_next_step(
    model_type: str, name: str, where: str, tmp_path: Path
) -> None:
    """Before any package is asked for that the Python code needs."""
    directory = layout(tmp_path / "d", model_type, {"vocab.txt": lines(BERT_SPECIALS), "bpe.codes": ""})
    said = {"model_type": model_type} if where == "config.json" else {}
    (directory / where).write_text(json.dumps({**said, "tokenizer_class": name}))
    message = refusal(directory)
    assert f"its {name}, which" in message
    assert "exists in Python only" in message
    assert f"Tokenizer.save('{directory / 'tokenizer.json'}')" in message


@pytest.mark.parametrize("model_type", ["flaubert", "xlm", "perceiver", "roc_bert", "roformer", "tapas"])
def test_families_whose_tokenizer_is_python(model_type: str, tmp_path: Path) -> None:
    assert "exists in Python only" in refusal(layout(tmp_path / "d", model_type, {"vocab.txt": lines(BERT_SPECIALS)}))


def test_a_class_that_is_not_known_is_named_with_what_makes_a_tokenizer_json(tmp_path: Path) -> None:
    directory = layout(tmp_path / "d", "bert", {"vocab.txt": lines(BERT_SPECIALS)}, tokenizer_class="OurTokenizerFast")
    message = refusal(directory)
    assert "the files of a OurTokenizer cannot be read here" in message
    assert "with transformers 4" in message


@pytest.mark.parametrize("stated", [{"do_basic_tokenize": False}, {"never_split": ["Paris"]}], ids=str)
def test_options_that_only_python_obeyed_are_refused(stated: dict[str, Any], tmp_path: Path) -> None:
    directory = layout(tmp_path / "d", "bert", {"vocab.txt": lines(BERT_SPECIALS)}, **stated)
    assert f"{next(iter(stated))}: " in refusal(directory)


@pytest.mark.parametrize("role", ["unk_token", "cls_token", "sep_token"])
def test_a_role_that_the_class_is_not_built_without_is_named(role: str, tmp_path: Path) -> None:
    directory = layout(tmp_path / "d", "bert", {"vocab.txt": lines(BERT_SPECIALS)}, **{role: None})
    assert f"states that there is no {role}, which a BertTokenizer is not built without" in refusal(directory)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files = byte_pair_files(byte_pairs(), tmp_path / "files")
    directory = layout(tmp_path / "d", "roberta", {"vocab.json": files["vocab.json"]})
    assert "neither tokenizer.json nor merges.txt, which a RobertaTokenizer is made of" in refusal(directory)
