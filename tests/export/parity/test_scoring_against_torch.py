"""Sentence scores of every family against transformers: one masked copy at a time, through PyTorch."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers

from maskedge import Predictor
from maskedge.inference.scoring import Method

METHODS = get_args(Method)
BLANKS = "▁Ġ"
SHORT = "The zebras of Zanzibar, two zebras: unquestionably!"
SENTENCE = (
    "Before the war, every child of the village learned that water flows from quixotic mountains; nobody knew why."
)
LONG = f"{SENTENCE} {SENTENCE}"


class Reference:
    """Slow and obvious: no batches, no graph, no shared code."""

    def __init__(self, checkpoint: Path, max_length: int) -> None:
        self.model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint, attn_implementation="eager").eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        self.room = max_length - 2

    def logprobs(self, text: str, method: str) -> list[float]:
        """Of each token, nats."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        words = words_of_pieces([str(self.tokenizer.convert_ids_to_tokens(one)) for one in ids], self.tokenizer)
        return [self._logprob(ids, method, words[at], at) for at in range(len(ids))]

    def _logprob(self, ids: list[int], method: str, word: list[int], at: int) -> float:
        masked = {"original": [at], "within_word_l2r": [place for place in word if place >= at], "whole_word": word}
        copy = [self.tokenizer.mask_token_id if place in masked[method] else id_ for place, id_ in enumerate(ids)]
        start = self._window(word if method == "whole_word" else [at], len(ids))
        window = [self.tokenizer.cls_token_id, *copy[start : start + self.room], self.tokenizer.sep_token_id]
        return self._distribution(window)[at - start + 1, ids[at]].item()

    def _window(self, asked: list[int], length: int) -> int:
        """Where the window begins that shows most on the shorter side of what is asked for."""
        starts = range(max(1, length - self.room + 1))
        return max(starts, key=lambda start: min(asked[0] - start, start + self.room - 1 - asked[-1]))

    @torch.no_grad()
    def _distribution(self, ids: list[int]) -> torch.Tensor:
        return torch.log_softmax(self.model(torch.tensor([ids])).logits[0].double(), -1)


def words_of_pieces(pieces: list[str], tokenizer: Any) -> list[list[int]]:
    """For each piece the places of its word's pieces, read off how the family spells pieces."""
    word_piece = any(piece.startswith("##") for piece in tokenizer.get_vocab())
    starts = [at for at, piece in enumerate(pieces) if at == 0 or begins_word(pieces[at - 1], piece, word_piece)]
    words = [list(range(start, stop)) for start, stop in zip(starts, [*starts[1:], len(pieces)], strict=True)]
    return [word for word in words for _ in word]


def begins_word(before: str, piece: str, word_piece: bool) -> bool:
    if word_piece:
        return not piece.startswith("##")
    if before in BLANKS:
        return False
    return piece[0] in BLANKS or not (piece.isalnum() and before.strip(BLANKS).isalnum())


@pytest.fixture(scope="session")
def reference(checkpoint: Path, max_length: int) -> Reference:
    return Reference(checkpoint, max_length)


@pytest.fixture(scope="session")
def predictor(fp32_bundle: Path) -> Predictor:
    return Predictor.load(fp32_bundle, threads=2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [SHORT, LONG], ids=["whole", "windows"])
def test_scores_are_those_of_transformers(
    predictor: Predictor, reference: Reference, text: str, method: Method
) -> None:
    (score,) = predictor.score([text], method=method)
    expected = reference.logprobs(text, method)
    assert [token.logprob for token in score.tokens] == pytest.approx(expected, abs=1e-4)
    assert score.pll == pytest.approx(sum(expected), abs=1e-4 * len(expected))
    assert score.pseudo_perplexity == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-3)
    assert (score.windows > 1) == (text == LONG) == (score.context is not None)


@pytest.mark.parametrize("text", [SHORT, LONG], ids=["whole", "windows"])
def test_words_are_the_same_in_every_family(predictor: Predictor, text: str) -> None:
    (score,) = predictor.score([text])
    for mark in ",:;.!":
        text = text.replace(mark, f" {mark} ")
    assert [word.word for word in score.words] == text.split()
    assert score.word_count == len(text.split())
    assert max(word.token_count for word in score.words) > 2
