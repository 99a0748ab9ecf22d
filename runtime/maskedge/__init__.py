"""Masked language models on plain CPUs, with numpy, onnxruntime and tokenizers only."""

from maskedge.bundle import Bundle
from maskedge.encoding import EncodedText
from maskedge.errors import BundleCorruptError, BundleError, BundleNotFoundError, MaskedgeError, TextError
from maskedge.predictor import Predictor
from maskedge.results import Fill, MaskFill, SentenceScore, TargetScore, TextStatus, TokenPrediction, TokenScore

__all__ = [
    "Bundle",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "EncodedText",
    "Fill",
    "MaskFill",
    "MaskedgeError",
    "Predictor",
    "SentenceScore",
    "TargetScore",
    "TextError",
    "TextStatus",
    "TokenPrediction",
    "TokenScore",
]
