"""Texts -> token ids, whatever the vocabulary spells: the special tokens around a text are found without one."""

from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from maskedge.errors import TextError
from maskedge.inference.encoding import TextEncoder

SPECIALS = ["<s>", "</s>", "<mask>"]
BASES = ["A", "C", "G", "T", "N"]
IDS = {token: index for index, token in enumerate(SPECIALS + BASES)}
TEXT = "GATTACA<mask>N"

MODELS: dict[str, Callable[[], models.Model]] = {
    "BPE": lambda: models.BPE(vocab=IDS, merges=[]),
    "Unigram": lambda: models.Unigram([(token, -1.0) for token in IDS]),
    "WordLevel": lambda: models.WordLevel(IDS),
    "WordPiece": lambda: models.WordPiece(IDS),
}
FRAMES: dict[str, processors.PostProcessor | None] = {
    "none": None,
    "both": processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]),
    "two after": processors.TemplateProcessing("$A </s> <s>", special_tokens=[("<s>", 0), ("</s>", 1)]),
    "before": processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)]),
    "RoBERTa's": processors.RobertaProcessing(("</s>", 1), ("<s>", 0)),
    "BERT's": processors.BertProcessing(("</s>", 1), ("<s>", 0)),
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("model", MODELS)
def test_a_vocabulary_of_bases_without_an_unknown_token(model: str, frame: str) -> None:
    tokenizer = Tokenizer(MODELS[model]())
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # a character each
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True)])
    if FRAMES[frame] is not None:
        tokenizer.post_processor = FRAMES[frame]
    encoder = TextEncoder(tokenizer, "<mask>", max_length=16)
    assert encoder.encode(TEXT).input_ids.tolist() == tokenizer.encode(TEXT).ids
    alone = tokenizer.encode("<mask>").ids
    assert [*encoder.prefix, encoder.mask_id, *encoder.suffix] == alone
    assert encoder.room == 16 - len(alone) + 1


def test_a_text_that_the_vocabulary_spells_nothing_of_holds_no_token() -> None:
    tokenizer = Tokenizer(MODELS["BPE"]())
    tokenizer.add_special_tokens([AddedToken("<mask>", special=True)])
    encoder = TextEncoder(tokenizer, "<mask>", max_length=16)
    with pytest.raises(TextError, match="holds no token"):
        encoder.encode("a")
