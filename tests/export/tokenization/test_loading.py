"""What a directory's tokenizer.json says is what a bundle reads text with; nothing transformers makes of it instead."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_families import make_model
from tokenizer_layouts import byte_pair_files, byte_pairs, layout, lines, sentence_pieces, vocabulary, word_pieces
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from maskedge import Predictor
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.errors import CheckpointError
from maskedge_export.tokenization.loading import load_tokenizer, read_tokenizer, tokenizer_notes
from maskedge_export.tokenization.probe import probe_texts
from maskedge_export.tokenization.saving import save_tokenizer

Edit = Callable[[dict[str, Any]], object]

LOWER = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
DIGITS = {"type": "Digits", "individual_digits": True}


def with_mask(**flags: bool) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        for token in content["added_tokens"]:
            if token["content"] in ("[MASK]", "<mask>"):
                token.update(flags)

    return edit


def before_all(**part: Any) -> Edit:
    """Another pre-tokenizer before those there are."""

    def edit(content: dict[str, Any]) -> None:
        own = content["pre_tokenizer"]
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [part, own]}

    return edit


EDITS: dict[str, Edit] = {
    "as it was": lambda content: None,
    "lower-cased": lambda content: content.update(normalizer=LOWER),
    "not normalized": lambda content: content.update(normalizer=None),
    "without accents": lambda content: content.update(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}
    ),
    "quotes replaced": lambda content: content.update(
        normalizer={"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
    ),
    "digits apart": before_all(**DIGITS),
    "no special tokens around": lambda content: content.update(post_processor=None),
    "mask takes the space": with_mask(lstrip=True),
    "mask takes no space": with_mask(lstrip=False),
    "mask takes both spaces": with_mask(lstrip=True, rstrip=True),
}
"""Changes of a tokenizer.json that its class in transformers knows nothing of."""


def source_of(family: str) -> Tokenizer:
    return word_pieces(lowercase=True) if family == "bert" else byte_pairs()


def edited(family: str, edit: Edit, directory: Path, **stated: Any) -> Path:
    """A directory with the tokenizer.json of a family, changed, and what is stated beside it."""
    content = json.loads(source_of(family).to_str())
    if content["added_tokens"][0]["content"] == "[PAD]":  # the library's own BERT has no frame
        content["post_processor"] = json.loads(_bert_frame(source_of(family)))
    edit(content)
    return layout(directory, family, {"tokenizer.json": json.dumps(content)}, **stated)


def _bert_frame(tokenizer: Tokenizer) -> str:
    return json.dumps({"type": "BertProcessing", "sep": ["[SEP]", tokenizer.token_to_id("[SEP]")], "cls": ["[CLS]", 2]})


def own_file(directory: Path) -> Tokenizer:
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def in_bundle(directory: Path, bundle: Path) -> Tokenizer:
    """What a bundle's tokenizer.json reads."""
    bundle.mkdir()
    save_tokenizer(load_tokenizer(directory), bundle)
    return own_file(bundle)


def texts(mask: str) -> list[str]:
    return [*probe_texts(mask), "NAÏVE café 2024, ``so'' 'it' is", "a  b\u00a0c\u200d", "ǅ İstanbul ß ﬁ", "x" * 300]


def refusal(directory: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", ["bert", "roberta", "deberta", "electra", "distilbert"])
def test_a_bundle_reads_text_as_the_checkpoint_s_tokenizer_json(family: str, edit: str, tmp_path: Path) -> None:
    base = "roberta" if family in ("roberta", "deberta") else "bert"
    directory = edited(base, EDITS[edit], tmp_path / "d")
    (directory / "config.json").write_text(json.dumps({"model_type": family}))
    mask = "<mask>" if base == "roberta" else "[MASK]"
    if family == "deberta":
        (directory / "tokenizer_config.json").write_text(json.dumps({"mask_token": mask}))
    own, bundled = own_file(directory), in_bundle(directory, tmp_path / "bundle")
    for text in texts(mask):
        assert bundled.encode(text).ids == own.encode(text).ids, text
        assert bundled.encode(text).offsets == own.encode(text).offsets, text


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_transformers_reads_a_bundle_as_we_do(family: str, edit: str, tmp_path: Path) -> None:
    """Its own class for the family would not: the bundle names the one that takes tokenizer.json as it is."""
    directory = edited(family, EDITS[edit], tmp_path / "d")
    bundled = in_bundle(directory, tmp_path / "bundle")
    (tmp_path / "bundle" / "config.json").write_bytes((directory / "config.json").read_bytes())
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "bundle")
    for text in texts(theirs.mask_token):
        assert theirs(text)["input_ids"] == bundled.encode(text).ids, text


@pytest.mark.slow
def test_a_roberta_that_lower_cases_predicts_from_lower_case(tmp_path: Path) -> None:
    directory = edited("roberta", EDITS["lower-cased"], tmp_path / "d")
    model = make_model("roberta", num_hidden_layers=1, vocab_size=source_of("roberta").get_vocab_size())
    model.save_pretrained(directory)
    export_bundle(str(directory), tmp_path / "bundle", ExportOptions(precision="fp32"))
    text = "The CAPITAL of <mask>, ÉCOLE"
    predictor = Predictor.load(tmp_path / "bundle")
    ids = torch.tensor([own_file(directory).encode(text).ids])
    assert torch.equal(ids, torch.tensor([own_file(directory).encode(text.lower()).ids]))
    _assert_same(predictor, text, model, ids)


def _assert_same(predictor: Predictor, text: str, model: Any, ids: torch.Tensor) -> None:
    """The best tokens and their probabilities are those of PyTorch at the mask of ids [1, length]."""
    with torch.no_grad():
        logits = model(ids).logits[0, ids[0].tolist().index(predictor.encoder.mask_id)]
    best = logits.softmax(-1).topk(5)
    found = predictor(text)
    assert [row["token"] for row in found] == best.indices.tolist()
    assert [row["score"] for row in found] == pytest.approx(best.values.tolist(), rel=1e-3)


@pytest.mark.slow
def test_an_older_roberta_predicts_at_a_mask_that_took_its_space(tmp_path: Path) -> None:
    expected = byte_pairs()
    files = byte_pair_files(expected, tmp_path / "files")
    directory = layout(tmp_path / "d", "roberta", files, model_max_length=48)
    model = make_model("roberta", num_hidden_layers=1, vocab_size=expected.get_vocab_size())
    model.save_pretrained(directory)
    export_bundle(str(directory), tmp_path / "bundle", ExportOptions(precision="fp32"))
    text = "The capital of <mask> is Paris"
    _assert_same(Predictor.load(tmp_path / "bundle"), text, model, torch.tensor([expected.encode(text).ids]))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["xlm-roberta", "camembert", "albert", "deberta-v2"])
def test_a_checkpoint_with_a_sentence_piece_model_alone_becomes_a_bundle(family: str, tmp_path: Path) -> None:
    trained_as, file = {
        "xlm-roberta": ("xlm-roberta", "sentencepiece.bpe.model"),
        "camembert": ("xlm-roberta", "sentencepiece.bpe.model"),
        "albert": ("albert", "spiece.model"),
        "deberta-v2": ("deberta-v2", "spm.model"),
    }[family]
    directory = layout(tmp_path / "d", family, {file: sentence_pieces(trained_as)})
    loaded = load_tokenizer(directory)
    small: dict[str, int] = {"num_hidden_layers": 1, **({"num_hidden_groups": 1} if family == "albert" else {})}
    model = make_model(family, vocab_size=len(loaded), pad_token_id=loaded.pad_token_id, **small)
    model.save_pretrained(directory)
    export_bundle(str(directory), tmp_path / "bundle", ExportOptions(precision="fp32"))
    text = f"the capital of {loaded.mask_token} is small"
    before, after = (read_tokenizer(directory).encode(half).ids[1:-1] for half in text.split(loaded.mask_token))
    ids = [loaded.cls_token_id, *before, loaded.mask_token_id, *after, loaded.sep_token_id]
    _assert_same(Predictor.load(tmp_path / "bundle"), text, model, torch.tensor([ids]))


@pytest.mark.slow
def test_esm_becomes_a_bundle_from_its_list_of_residues(tmp_path: Path) -> None:
    entries = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>"]
    directory = layout(tmp_path / "d", "esm", {"vocab.txt": "\n".join(entries)})
    original = transformers.EsmTokenizer(str(directory / "vocab.txt"))
    model = make_model("esm", vocab_size=len(entries), pad_token_id=1, mask_token_id=entries.index("<mask>"))
    model.save_pretrained(directory)
    export_bundle(str(directory), tmp_path / "bundle", ExportOptions(precision="fp32"))
    text = "MKTAYIA<mask>QRQISFVK"
    _assert_same(Predictor.load(tmp_path / "bundle"), text, model, torch.tensor([original(text)["input_ids"]]))


@pytest.mark.slow
def test_a_vocabulary_of_bases_that_spells_nothing_else_becomes_a_bundle(tmp_path: Path) -> None:
    vocab = {token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "<mask>", *"ACGTN", "AC"])}
    tokenizer = Tokenizer(models.BPE(vocab, [("A", "C")]))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    directory = layout(tmp_path / "d", "roberta", {"tokenizer.json": tokenizer.to_str()})
    model = make_model("roberta", num_hidden_layers=1, vocab_size=len(vocab))
    model.save_pretrained(directory)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join("".join(bases) for bases in itertools.product("ACGT", repeat=4)))
    export_bundle(str(directory), tmp_path / "bundle", ExportOptions("fp32", (texts,)))
    text = "GATTACA<mask>GA"
    ids = torch.tensor([tokenizer.encode(text).ids])
    _assert_same(Predictor.load(tmp_path / "bundle"), text, model, ids)


# A directory that says two things


CONTRADICTIONS: list[tuple[str, Edit, dict[str, Any], str]] = [
    ("bert", EDITS["as it was"], {"do_lower_case": False}, "do_lower_case: false"),
    ("bert", EDITS["as it was"], {"strip_accents": False}, "strip_accents: false"),
    ("bert", EDITS["as it was"], {"tokenize_chinese_chars": False}, "tokenize_chinese_chars: false"),
    ("roberta", EDITS["as it was"], {"add_prefix_space": True}, "add_prefix_space: true"),
    (
        "roberta",
        with_mask(lstrip=False),
        {"added_tokens_decoder": {"4": {"content": "<mask>", "lstrip": True, "special": True}}},
        "<mask> with lstrip",
    ),
]


@pytest.mark.parametrize(
    ("family", "edit", "stated", "said"), CONTRADICTIONS, ids=[said for *_, said in CONTRADICTIONS]
)
def test_settings_that_contradict_the_file_are_refused_with_a_text_and_both_readings(
    family: str, edit: Edit, stated: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """transformers 4 obeyed the settings, and tokenizers the file: which was it when the model was trained?"""
    message = refusal(edited(family, edit, tmp_path / "d", **stated))
    assert "contradicts itself: of '" in message
    assert f"with what tokenizer_config.json states ({said}) that is" in message


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_vocabulary_that_is_not_the_file_s_is_refused(family: str, tmp_path: Path) -> None:
    """Such as one whose unused entries were replaced: transformers reads either, by the class it is asked for."""
    directory = edited(family, EDITS["as it was"], tmp_path / "d")
    tokens = vocabulary(source_of(family))
    for changed in (False, True):
        if changed:
            tokens[10] = "zebra"
        if family == "bert":
            (directory / "vocab.txt").write_text(lines(tokens), encoding="utf-8")
        else:
            (directory / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        if not changed:
            load_tokenizer(directory)
    assert f"the id 10 is {vocabulary(source_of(family))[10]!r} in tokenizer.json and 'zebra'" in refusal(directory)


@pytest.mark.parametrize(
    ("family", "stated"),
    [
        ("bert", {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}),
        ("bert", {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "[MASK]", "do_lower_case": False}),
        ("roberta", {"add_prefix_space": False, "do_lower_case": True}),
        ("roberta", {"mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True}}),
        (
            "roberta",
            {"added_tokens_decoder": {"4": {"content": "<mask>", "lstrip": True, "normalized": True, "special": True}}},
        ),
    ],
    ids=str,
)
def test_settings_that_say_the_same_or_are_read_by_nobody_pass(
    family: str, stated: dict[str, Any], tmp_path: Path
) -> None:
    directory = edited(family, EDITS["as it was"], tmp_path / "d", **stated)
    own, read = own_file(directory), read_tokenizer(directory)
    for text in texts("[MASK]" if family == "bert" else "<mask>"):
        assert read.encode(text).ids == own.encode(text).ids, text


def test_a_class_s_default_contradicts_nothing(tmp_path: Path) -> None:
    """BERT's class lower-cases by default; a file that does not, with nothing stated beside it, is the file's word."""
    content = json.loads(word_pieces(lowercase=False).to_str())
    directory = layout(tmp_path / "d", "bert", {"tokenizer.json": json.dumps(content)}, model_max_length=48)
    own, read = own_file(directory), read_tokenizer(directory)
    assert own.encode("PARIS Sea").ids != own.encode("paris sea").ids
    for text in texts("[MASK]"):
        assert read.encode(text).ids == own.encode(text).ids, text


def test_a_token_that_only_the_settings_name_is_added_with_the_id_they_give(tmp_path: Path) -> None:
    size = source_of("bert").get_vocab_size()
    added = {str(size): {"content": "[NEW]", "special": True}}
    directory = edited("bert", EDITS["as it was"], tmp_path / "d", added_tokens_decoder=added)
    assert read_tokenizer(directory).encode("a [NEW] sea").ids[2] == size
    added = {str(size + 5): {"content": "[NEW]", "special": True}}
    directory = edited("bert", EDITS["as it was"], tmp_path / "other", added_tokens_decoder=added)
    assert f"'[NEW]', added with the id {size + 5}, has the id {size}" in refusal(directory)


# What a file was left with


def test_merges_left_out_by_chance_are_switched_off(tmp_path: Path) -> None:
    directory = edited("roberta", lambda content: content["model"].update(dropout=0.5), tmp_path / "d")
    assert len({tuple(own_file(directory).encode("The children were playing").ids) for _ in range(20)}) > 1
    bundled = in_bundle(directory, tmp_path / "bundle")
    for text in texts("<mask>"):
        assert {tuple(bundled.encode(text).ids) for _ in range(5)} == {tuple(byte_pairs().encode(text).ids)}


@pytest.mark.slow
def test_a_tokenizer_with_dropout_becomes_a_bundle_that_answers_the_same_each_time(tmp_path: Path) -> None:
    directory = edited("roberta", lambda content: content["model"].update(dropout=0.5), tmp_path / "d")
    make_model("roberta", num_hidden_layers=1, vocab_size=byte_pairs().get_vocab_size()).save_pretrained(directory)
    text = tmp_path / "texts.txt"
    text.write_text("\n".join(f"The children were playing number {number}." for number in range(80)))
    export_bundle(str(directory), tmp_path / "bundle", ExportOptions("fp32", (text,)))
    predictor = Predictor.load(tmp_path / "bundle")
    answers = [predictor("The children were <mask> outside") for _ in range(5)]
    assert all(answer == answers[0] for answer in answers)


def test_sampling_that_sentence_piece_is_asked_for_is_for_training(tmp_path: Path) -> None:
    stated = {"sp_model_kwargs": {"enable_sampling": True, "nbest_size": -1, "alpha": 0.1}}
    files = {"sentencepiece.bpe.model": sentence_pieces("xlm-roberta")}
    sampled = read_tokenizer(layout(tmp_path / "sampled", "xlm-roberta", files, **stated))
    plain = read_tokenizer(layout(tmp_path / "plain", "xlm-roberta", files))
    for text in texts("<mask>"):
        assert {tuple(sampled.encode(text).ids) for _ in range(3)} == {tuple(plain.encode(text).ids)}


def test_what_was_made_of_a_tokenizer_is_said_with_the_checkpoint(tmp_path: Path) -> None:
    def changed(content: dict[str, Any]) -> None:
        content["model"]["dropout"] = 0.1
        content["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}

    chance, whole = tokenizer_notes(edited("roberta", changed, tmp_path / "changed"))
    assert "dropout 0.1" in chance
    assert "truncation" in whole
    (older,) = tokenizer_notes(layout(tmp_path / "older", "roberta", byte_pair_files(byte_pairs(), tmp_path / "files")))
    assert "made of vocab.json and merges.txt as transformers 4 reads a RobertaTokenizer" in older
    assert not list(tokenizer_notes(edited("roberta", EDITS["as it was"], tmp_path / "plain")))


@pytest.mark.parametrize(
    "left",
    [
        {"truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}},
        {
            "padding": {
                "strategy": {"Fixed": 64},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            }
        },
    ],
    ids=str,
)
def test_truncation_and_padding_left_on_are_switched_off(left: dict[str, Any], tmp_path: Path) -> None:
    directory = edited("bert", lambda content: content.update(left), tmp_path / "d")
    plain = edited("bert", EDITS["as it was"], tmp_path / "plain")
    bundled, expected = in_bundle(directory, tmp_path / "bundle"), own_file(plain)
    for text in texts("[MASK]"):
        assert bundled.encode(text).ids == expected.encode(text).ids, text


def test_what_a_file_leaves_out_of_its_tokenizer_is_named(tmp_path: Path) -> None:
    """transformers writes a RoFormer's tokenizer.json without jieba, which splits its Chinese words."""
    directory = edited("bert", EDITS["as it was"], tmp_path / "d")
    (directory / "config.json").write_text(json.dumps({"model_type": "roformer"}))
    assert "a RoFormerTokenizer splits Chinese words with jieba, in Python" in refusal(directory)
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "[MASK]"})
    )
    assert load_tokenizer(directory).mask_token == "[MASK]"


# Special tokens


def test_a_mask_in_the_vocabulary_that_was_never_added_is_found_in_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[MASK]": 1, "sea": 2, "[SEP]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    directory = layout(tmp_path / "d", "bert", {"tokenizer.json": tokenizer.to_str()})
    assert read_tokenizer(directory).encode("sea [MASK]sea").ids == [2, 1, 2]


@pytest.mark.parametrize("known", [True, False])
def test_special_tokens_of_the_class_are_used_where_the_vocabulary_has_them(known: bool, tmp_path: Path) -> None:
    vocab = {"[UNK]": 0, "[MASK]": 1, "sea": 2, **({"[PAD]": 3} if known else {})}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    loaded = load_tokenizer(layout(tmp_path / "d", "bert", {"tokenizer.json": tokenizer.to_str()}))
    assert (loaded.mask_token_id, loaded.pad_token_id) == (1, 3 if known else None)
    assert len(loaded) == len(vocab)


@pytest.mark.parametrize("said", [{"mask_token": None}, {"mask_token": 7}, {"model_max_length": "long"}], ids=str)
def test_settings_that_make_no_sense_are_named(said: dict[str, Any], tmp_path: Path) -> None:
    refusal(edited("bert", EDITS["as it was"], tmp_path / "d", **said))
