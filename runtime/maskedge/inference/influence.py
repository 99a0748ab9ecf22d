"""How much each word of a text matters to a prediction, by occlusion: the word is masked too, and the prediction's
log-probability looked at again (Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901, did so with parts of pictures).

A mask in a word's place is what the model was trained to read, so the text stays one that it knows.
"""

from collections.abc import Iterator

import numpy as np

from maskedge.inference.batching import AnswerQueries, Query
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.words import divide
from maskedge.results import Influence, WordInfluence

__all__ = ["word_influence"]


def word_influence(
    text: EncodedText, mask: int, token: int | None, encoder: TextEncoder, answer_queries: AnswerQueries
) -> Influence:
    """How much each other word matters to a token at the text's mask number `mask`, counted from 0.

    `token` is a vocabulary id; the most probable one where None.
    """
    position = text.mask_positions[mask]
    others = tuple(other for other in text.mask_positions if other != position)
    if token is None:
        (best,) = answer_queries([Query(text.input_ids, (position,), (0,), others)], ["top_ids"], 1)
        token = int(np.asarray(best["top_ids"])[0, 0])
    words = list(_other_words(text, encoder))
    occluded = [(), *(positions for _, positions in words)]
    queries = [Query(text.input_ids, (position,), (token,), (*others, *each)) for each in occluded]
    whole, *without = [
        float(np.asarray(outputs["target_logprobs"])[0, 0])
        for outputs in answer_queries(queries, ["target_logprobs"], 0)
    ]
    return Influence(
        text=text.text,
        position=position,
        token=token,
        token_str=encoder.token_str(token),
        logprob=whole,
        words=tuple(
            WordInfluence(text.source[start:stop], positions, logprob, whole - logprob, start, stop)
            for ((start, stop), positions), logprob in zip(words, without, strict=True)
        ),
    )


def _other_words(text: EncodedText, encoder: TextEncoder) -> Iterator[tuple[tuple[int, int], tuple[int, ...]]]:
    """Where each word that was read and is no mask stands in the text, and its tokens' positions when encoded."""
    shift, masks = len(encoder.prefix) - text.window_start, set(text.mask_positions)
    read = range(len(encoder.prefix), len(text.input_ids) - len(encoder.suffix))
    for word in divide(text.source, encoder.offsets(text)):
        positions = tuple(token + shift for token in word.tokens if token + shift in read)
        if positions and masks.isdisjoint(positions):
            yield (word.start, word.stop), positions
