"""Pseudo-log-likelihoods by minicons, of the texts and checkpoints that it is given. For minicons' environment:

    python benchmarks/peers/minicons_scores.py '{"checkpoints": {"bert": "checkpoint"}, "texts": ["the river"]}'

Prints, as JSON, nats by family and method, or why there are none. Texts are scored one at a time: in a batch they are
padded, which moves the scores of some families.
"""

import json
import sys
from typing import Any

from minicons import scorer

METHODS = ("original", "within_word_l2r")


def main() -> None:
    """Score, and print."""
    asked = json.loads(sys.argv[1])
    print(json.dumps({family: scores(path, asked["texts"]) for family, path in asked["checkpoints"].items()}))


def scores(checkpoint: str, texts: list[str]) -> dict[str, Any]:
    """Of each text, by method."""
    try:
        model: Any = scorer.MaskedLMScorer(checkpoint, "cpu")
        return {
            method: [
                model.sequence_score([text], reduction=lambda x: x.sum(0).item(), PLL_metric=method)[0]
                for text in texts
            ]
            for method in METHODS
        }
    except Exception as error:  # its own, transformers' and PyTorch's
        return {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"}


if __name__ == "__main__":
    main()
