"""Two checkpoints on the same held-out words, whatever their vocabularies, and everyday sentences with a gap.

    .venv/bin/python benchmarks/compare_models.py MODEL OTHER --text HELD_OUT.parquet \
        --json docs/results/default_model.json

One word a text is scored: every piece predicted with itself and the word's later ones masked. The text should be kept
out of both models' training; what the trainer kept out of a run is `held_out.parquet` in its cache.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.evaluation.bootstrap import estimate, perplexity_ratio
from maskedge_export.evaluation.texts import read_texts
from maskedge_export.evaluation.whole_words import MaskedWord, masked_words, word_losses

CLOZES = (
    "Paris is the [MASK] of France.",
    "She poured the hot [MASK] into a cup.",
    "He opened the [MASK] and walked into the room.",
    "The children [MASK] playing in the park.",
    "I am going to the [MASK] to buy some bread.",
    "They stood in front [MASK] the house.",
    "My father [MASK] a teacher.",
    "They have two [MASK] and a daughter.",
    "It is one of the [MASK] cities in the world.",
    "The keys to the cabinet [MASK] on the table.",
    "He was [MASK] in London in 1902.",
    "The sun rises in the [MASK].",
)
TOP_K = 3


def main(
    checkpoint: str,
    other: str,
    text: Annotated[list[Path], typer.Option()],
    json_file: Annotated[Path, typer.Option("--json")],
) -> None:
    """Compare, print, and write the figures."""
    texts = read_texts(text)
    models = [load_checkpoint(name) for name in (checkpoint, other)]
    losses = [losses_by_word(model, texts) for model in models]
    shared = sorted(set(losses[0]) & set(losses[1]))
    first, second = (np.array([found[place] for place in shared]) for found in losses)
    ratio = perplexity_ratio(second, first)
    figures = {
        "words": len(shared),
        "models": [
            {"name": model.name, "word_perplexity": float(np.exp(found.mean()))}
            for model, found in zip(models, (first, second), strict=True)
        ],
        "ratio": ratio.value,
        "ratio_interval": [ratio.low, ratio.high],
        "nats_per_word_gained": estimate(second - first).value,
        "clozes": {cloze: predictions(models[0], cloze) for cloze in CLOZES},
    }
    json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


def losses_by_word(model: Checkpoint, texts: list[str]) -> dict[tuple[str, int], float]:
    """-log p of each word, nats, by its sentence and place."""
    encoder = model.text_encoder
    words = masked_words(texts, encoder)
    losses = word_losses(model.native(), words, encoder.mask_id)
    return {place(word): loss for word, loss in zip(words, losses, strict=True)}


def place(word: MaskedWord) -> tuple[str, int]:
    """What tells a word from others, whatever the tokenizer."""
    return word.sentence, word.start


@torch.no_grad()
def predictions(model: Checkpoint, cloze: str) -> list[dict[str, Any]]:
    """The most probable tokens of a gap."""
    ids = model.tokenizer(cloze.replace("[MASK]", model.tokenizer.mask_token), return_tensors="pt")["input_ids"]
    position = (ids == model.tokenizer.mask_token_id).nonzero()[:, 1:]
    probabilities = model.native()(ids, position)[0, 0].softmax(-1)
    best = probabilities.topk(TOP_K)
    return [
        {"token": model.tokenizer.decode([token]), "probability": round(float(p), 4)}
        for p, token in zip(best.values, best.indices.tolist(), strict=True)
    ]


if __name__ == "__main__":
    typer.run(main)
