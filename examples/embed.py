"""A typing aid in 60 lines: which word of a sentence does not fit, and what would?

    python examples/embed.py "She poured the hot water into a cub."

An application with maskedge inside. It needs `pip install maskedge` and no more: numpy, onnxruntime and tokenizers, on
any CPU. The model is opened once; its predictor keeps nothing between calls and may be shared by threads.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from maskedge import MaskedgeError, Predictor, SentenceScore


def main() -> int:
    """Reads the command line, prints a line for each doubtful word, and returns the exit code."""
    arguments = parse_arguments()
    try:
        predictor = Predictor.load(arguments.model)
        for score in predictor.score(arguments.text, method="whole_word"):
            for line in doubts(predictor, score, arguments.nats):
                print(line)
    except MaskedgeError as error:  # its message names the text or the file, and what to do
        print(error, file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Find the words that do not fit their sentence.")
    parser.add_argument("text", nargs="+", help="a sentence")
    parser.add_argument("--model", help="a bundle's directory or Hub id; the bundled English model by default")
    parser.add_argument("--nats", type=float, default=9.0, help="how improbable a word must be (default: %(default)s)")
    return parser.parse_args()


def doubts(predictor: Predictor, score: SentenceScore, nats: float) -> Iterator[str]:
    """A line for each word of a sentence whose log-probability is below `-nats`, with what the model would write."""
    for word in score.words:
        if word.logprob < -nats:
            masked = score.text[: word.start] + predictor.mask_token + score.text[word.stop :]
            instead = best_words(predictor, masked)
            doubt = f"{word.word!r} is improbable here ({word.logprob:.1f} nats)"
            yield f"{doubt}; more usual: {', '.join(instead)}"


def best_words(predictor: Predictor, masked: str, count: int = 3) -> Sequence[str]:
    """The most probable words at the mask, pieces of words left out."""
    (fill,) = predictor.fill([masked], top_k=50)
    words = [prediction.token_str.strip() for prediction in fill.masks[0].predictions]
    return [word for word in words if word.isalpha()][:count]


if __name__ == "__main__":
    sys.exit(main())
