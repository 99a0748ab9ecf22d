"""Masked language models on plain CPUs, with numpy, onnxruntime and tokenizers only."""

from maskedge.bundle import Bundle
from maskedge.bundle.golden_vectors import Verification
from maskedge.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    EngineError,
    Int8SaturationWarning,
    MaskedgeError,
    PageError,
    TextError,
    UnsupportedGraphError,
)
from maskedge.explanation import ExplainedCandidate, ExplainedMask, ExplainedToken, Explanation, explain
from maskedge.inference.encoding import EncodedText
from maskedge.pipelines import pipeline
from maskedge.predictor import Predictor
from maskedge.results import (
    Attention,
    Fill,
    Influence,
    JointFill,
    MaskFill,
    SentenceScore,
    TargetScore,
    TextStatus,
    TokenPrediction,
    TokenScore,
    WholeTarget,
    WordInfluence,
    WordScore,
)

__all__ = [
    "Attention",
    "Bundle",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "EncodedText",
    "EngineError",
    "ExplainedCandidate",
    "ExplainedMask",
    "ExplainedToken",
    "Explanation",
    "Fill",
    "Influence",
    "Int8SaturationWarning",
    "JointFill",
    "MaskFill",
    "MaskedgeError",
    "PageError",
    "Predictor",
    "SentenceScore",
    "TargetScore",
    "TextError",
    "TextStatus",
    "TokenPrediction",
    "TokenScore",
    "UnsupportedGraphError",
    "Verification",
    "WholeTarget",
    "WordInfluence",
    "WordScore",
    "explain",
    "pipeline",
]
