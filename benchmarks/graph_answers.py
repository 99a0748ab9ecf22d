"""What a bundle's graphs say on the CPU that this program runs on: JSON in, JSON out.

`other_cpus.py` runs it, natively and emulated. It needs what the runtime needs, and nothing else.
"""

import json
import sys
import warnings
from importlib.metadata import version
from typing import Any

from maskedge import EncodedText, Fill, Predictor
from maskedge.bundle.cpu import cpu_features

ALONE = 16
"""Texts that are asked about once more, each by itself."""

warnings.simplefilter("ignore")  # that this CPU saturates is what is to be measured


def answers(bundle: str, texts: list[str], targets: list[str]) -> dict[str, Any]:
    """This CPU, the graph that the runtime chooses for it, and what each graph of the bundle says here.

    Args:
        bundle: Its directory.
        texts: Texts with one mask each.
        targets: The word to rate in each of them.
    """
    chosen = Predictor.load(bundle)
    return {
        "architecture": cpu_features().architecture,
        "features": cpu_features().names,
        "versions": {name: version(name) for name in ("numpy", "onnxruntime", "tokenizers")},
        "chosen": chosen.precision,
        "graphs": {precision: ask(bundle, precision, texts, targets) for precision in chosen.bundle.manifest.graphs},
    }


def ask(bundle: str, precision: str, texts: list[str], targets: list[str]) -> dict[str, Any]:
    """Golden vectors replayed, each text's best token, and the log-probability of its target, nats; None where that is
    no token of the vocabulary."""
    predictor = Predictor.load(bundle, precision=precision, threads=1)
    encoded = [predictor.encode(text) for text in texts]
    ids = [predictor.target_id(text, 0, target) for text, target in zip(encoded, targets, strict=True)]
    together = fills(predictor, encoded, ids)
    alone = [fills(predictor, [text], [token])[0] for text, token in zip(encoded[:ALONE], ids, strict=False)]
    golden = predictor.verify()
    return {
        "golden": {
            "max_logprob_difference": golden.max_logprob_difference,
            "same_best_tokens": golden.same_best_tokens,
            "tolerance": golden.tolerance,
            "passed": golden.passed,
        },
        "best_tokens": [fill.masks[0].predictions[0].token for fill in together],
        "logprobs": [target and target.logprob for target in (fill.masks[0].target for fill in together)],
        "same_alone": alone == together[:ALONE],
    }


def fills(predictor: Predictor, texts: list[EncodedText], targets: list[int | None]) -> list[Fill]:
    """Each text's mask filled, and its target rated."""
    return predictor.fill_encoded(texts, targets=[[target] for target in targets])


if __name__ == "__main__":
    print(json.dumps(answers(**json.load(sys.stdin))))
