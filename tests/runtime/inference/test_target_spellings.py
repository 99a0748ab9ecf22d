"""What a prediction is called can be asked about: as it is returned, as it is printed, as the vocabulary has it."""

from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from maskedge import Predictor, TextError, explain
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import TextEncoder
from maskedge.inference.pipeline_arguments import CallOptions

SENTENCES = ["the cat sat on the mat", "the dog ran to the sea", "a café and a dog", "cat", "dog", "the"] * 4
SPECIAL = ["<s>", "</s>", "<unk>"]
TEXTS = ["the <mask> sat", "<mask> sat", "the<mask>", "(<mask>"]


def finished(tokenizer: Tokenizer) -> TextEncoder:
    tokenizer.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in SPECIAL[:2]]
    )
    return TextEncoder(tokenizer, "<mask>", max_length=16)


def byte_level() -> TextEncoder:
    """As RoBERTa: ` cat` is another entry than `cat`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, show_progress=False, special_tokens=SPECIAL, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return finished(tokenizer)


def sentence_piece() -> TextEncoder:
    """As XLM-R: `▁cat` decodes to `cat`."""
    words = ["▁the", "▁cat", "▁dog", "▁sat", "▁café", "▁ca", "cat", "og", "s", "é", "▁"]
    letters = sorted({letter for word in words for letter in word} - set(words))
    pieces = [("<unk>", 0.0), *((piece, -1.0 - index) for index, piece in enumerate([*words, *letters]))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return finished(tokenizer)


def word_piece() -> TextEncoder:
    """As BERT: `##s` goes on."""
    entries = [*SPECIAL, "the", "cat", "dog", "sat", "café", "ca", "##t", "##s", "##og", "##é", "s", "(", "#"]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return finished(tokenizer)


KINDS: dict[str, Callable[[], TextEncoder]] = {
    "byte-level": byte_level,
    "SentencePiece": sentence_piece,
    "WordPiece": word_piece,
}


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    return KINDS[request.param]()


def printed(token_str: str) -> str:
    """A token as the tables of `mlm` show it."""
    blanks = len(token_str) - len(token_str.lstrip(" "))
    return "▁" * blanks + token_str[blanks:]


@pytest.mark.parametrize("text", TEXTS)
def test_every_entry_comes_back_under_each_of_its_names(encoder: TextEncoder, text: str) -> None:
    """As the vocabulary has it, as it is returned, as it is printed. Where two entries have one name, one that begins a
    word and one that goes on, it is the one that the tokenizer writes there, as it must be for a word."""
    encoded = encoder.encode(text)
    for entry, token in encoder.tokenizer.get_vocab().items():
        name = encoder.token_str(token)
        if not name.strip() or "\ufffd" in name:  # parts of characters have no name of their own
            continue
        for spelling in (entry, name, printed(name)):
            found = encoder.target_id(encoded, 0, spelling)
            assert found is not None, (text, spelling)
            if found != token:
                assert encoder.token_str(found).strip().removeprefix("##") == name.strip()
                assert encoder.pieces_there(encoded, 0, name) == (found,)


@pytest.mark.parametrize(
    ("kind", "spellings", "entry"),
    [
        ("byte-level", ["cat", " cat", "Ġcat", "▁cat"], "Ġcat"),
        ("byte-level", ["café", " café", "ĠcafÃ©", "▁café"], "ĠcafÃ©"),
        ("byte-level", ["Ġ", " ", "▁"], "Ġ"),
        ("SentencePiece", ["cat", " cat", "▁cat"], "▁cat"),
        ("WordPiece", ["cat", " cat", "▁cat", "CAT"], "cat"),
        ("WordPiece", ["##s"], "##s"),
    ],
)
def test_a_word_is_one_token_however_it_is_spelled(kind: str, spellings: list[str], entry: str) -> None:
    encoder = KINDS[kind]()
    for text in ("the <mask> sat", "the <mask>"):
        assert [entry_there(encoder, text, spelling) for spelling in spellings] == [entry] * len(spellings)


def entry_there(encoder: TextEncoder, text: str, word: str) -> str | None:
    """The vocabulary entry that a word is in place of the text's mask."""
    token = encoder.target_id(encoder.encode(text), 0, word)
    return None if token is None else encoder.tokenizer.id_to_token(token)


def test_a_word_with_its_space_begins_where_it_stands() -> None:
    encoder = byte_level()
    for text in ("(<mask>", "<mask> sat", "the <mask>"):
        assert entry_there(encoder, text, " cat") == "Ġcat"
    assert entry_there(encoder, "(<mask>", "cat") == "cat"


@pytest.fixture(scope="module", params=KINDS)
def predictor(request: pytest.FixtureRequest, tiny: Predictor) -> Predictor:
    """The tiny model behind each kind of vocabulary: what it says is another's, but what it is asked is not."""
    encoder = KINDS[request.param]()
    decoder = TextDecoder(encoder.tokenizer, {})
    return Predictor(tiny.bundle, tiny.precision, tiny.graph, encoder, decoder, 1, CallOptions())


@pytest.mark.parametrize("word", ["cat", " cat", "▁cat", "dog", " cats", "▁dogs", "the cat"])
def test_every_entry_point_asks_about_the_same_tokens(predictor: Predictor, word: str) -> None:
    text = "the <mask> sat"
    encoded = predictor.encode(text)
    (target,) = rated = predictor.fill([text], targets=[word])[0].masks[0].targets or (None,)
    assert target is not None
    (candidate,) = predictor(text, targets=[word], whole_targets=True)
    assert candidate["tokens"] == list(target.tokens)
    assert predictor.target_id(encoded, 0, word) == (target.tokens[0] if len(target.tokens) == 1 else None)
    (per_mask,) = predictor.fill([text], targets=[[word]])[0].masks[0].targets
    assert (per_mask,) == rated


def test_predictions_go_in_as_they_came_out(predictor: Predictor) -> None:
    (fill,) = predictor.fill(["the <mask> sat"], top_k=40)
    known = [one for one in fill.masks[0].predictions if one.token_str.strip() and "\ufffd" not in one.token_str]
    (again,) = predictor.fill(["the <mask> sat"], targets=[one.token_str for one in known])
    rated = {target.target: target.tokens for target in again.masks[0].targets}
    for one in known:
        (token,) = rated[one.token_str]
        assert predictor.encoder.token_str(token).strip() == one.token_str.strip()


@pytest.mark.parametrize("word", ["cat", " cat", "▁cat"])
def test_the_word_to_explain_may_be_spelled_as_a_prediction(predictor: Predictor, word: str) -> None:
    explanation = explain(predictor, "the cat sat", word=word)
    assert explanation.masked_text == "the <mask> sat"
    (mask,) = explanation.masks
    assert mask.word == "cat"
    assert mask.word_rank is not None


def test_a_masked_word_of_several_tokens_has_no_rank_of_another() -> None:
    """`og` is an entry, and ` og` none: the entry is not what stood there."""
    encoder = byte_level()
    assert encoder.token_id("at") is not None
    assert encoder.token_id("Ġat") is None
    encoded = encoder.encode("the <mask>")
    assert encoder.target_id(encoded, 0, "at") == encoder.token_id("at")
    assert len(encoder.pieces_there(encoded, 0, "at")) == 2


@pytest.mark.parametrize("word", ["\ud800", " \ud800"])
def test_a_lone_surrogate_is_refused_at_every_entry_point(predictor: Predictor, word: str) -> None:
    with pytest.raises(TextError, match="surrogate"):
        predictor.fill(["the <mask>"], targets=[word])
    with pytest.raises(TextError, match="surrogate"):
        predictor.target_id(predictor.encode("the <mask>"), 0, word)
