"""What each number of a report means, as the report itself says it."""

from maskedge_batch.reports.bootstrap import BUCKETS, FEWEST_ROWS, LEVEL, RESAMPLES
from maskedge_batch.reports.calibration import BINS

__all__ = ["COMPARISON_DEFINITIONS", "DEFINITIONS", "SAME_NATS"]

SAME_NATS = 0.001
"""Rows that differ by less, for each unit, are known equally well: a thousandth of their perplexity."""

DEFINITIONS = {
    "masked cross-entropy": "-(1/M) Σ log p(target | text with its masks), in nats, over the M masks with a known "
    "target. Every target counts the same, whatever row it stands in and however many pieces it has: the "
    "log-probability of one of several pieces is the sum of its pieces'.",
    "masked perplexity": "exp(masked cross-entropy): per target word.",
    "top-k accuracy": "Share of those M targets that are among the k most probable tokens of the vocabulary. One of "
    "several pieces is no token, and counts as missed: so a vocabulary with fewer words gains nothing.",
    "entropy": "Entropy of the distribution over the vocabulary at a mask, in nats; the mean is over all masks, with "
    "or without a target. Its exponential is the number of words the model wavers between.",
    "pseudo-log-likelihood": "Σ log P(token | all other tokens of the text), in nats: each token masked in turn, "
    "special tokens left out (Salazar et al. 2020). For texts without a mask; one that is longer than the model reads "
    "is read through windows, each token in the one with that token in its middle.",
    "pseudo-perplexity": "exp(-Σ pseudo-log-likelihoods / Σ tokens) over all those texts: a micro-average, not a mean "
    "of row perplexities. Per word, the sum is divided by the words of the texts, which no tokenizer has a part in: so "
    "models with different tokenizers can be compared.",
    "bits per character": "-Σ pseudo-log-likelihoods / (Σ characters · ln 2).",
    "row perplexity": "exp(-mean log-probability) of one row's targets, or of all its tokens where it has no mask.",
    "interval": f"{LEVEL:.0%} of {RESAMPLES:,} resamples of the rows lie within: the percentile bootstrap (Efron & "
    f"Tibshirani 1993), with a fixed seed. More than {BUCKETS:,} rows are first put into {BUCKETS:,} buckets at random "
    "(by a fixed hash of the row's number), and whole buckets are drawn. It says how much the figure depends on which "
    f"rows there happened to be. Fewer than {FEWEST_ROWS} rows have none.",
    "calibration": f"Masks with a target of one piece, in {BINS} bins by the probability of the best token, its "
    "confidence. Accuracy is the share of a bin where that token is the target. The expected calibration error (ECE: "
    "Naeini et al. 2015; Guo et al. 2017) is the mean of |accuracy - confidence| over the bins, weighted by their "
    "masks. Few masks make it larger than it is.",
    "rows per second": "Rows over the seconds spent reading, scoring and writing; loading the model is left out.",
    "row": "Index in the scored files; the first row is 0.",
}

COMPARISON_DEFINITIONS = {
    "difference": "Cross-entropy of B less that of A, in nats: what both lost on the same targets or texts, added up, "
    "over their number of target words, or of words (of tokens, where both counted the same and no words). "
    "Below 0, B is better. What only one of the two could rate is left out, and so is what both rule out.",
    "ratio": "exp(difference): the perplexity of B over that of A, per word, so that models with different tokenizers "
    "can be compared. Below 1, B is better.",
    "interval": DEFINITIONS["interval"].replace("the figure depends", "the difference depends")
    + " Both models are resampled together, row by row: what is hard for both tells nothing of which is better. Where "
    "the interval of the ratio holds 1, no difference is shown.",
    "rows known better": f"Share of the rows on which one lost less than the other, by more than {SAME_NATS} nats for "
    "each unit.",
    "perplexity": DEFINITIONS["masked perplexity"] + " Of texts without masks, the pseudo-perplexity per word.",
}
