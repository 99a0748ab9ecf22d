"""The proof repeated: a bundle's graphs compared with the checkpoint that they say they come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskedge.bundle.engine import OnnxGraph
from maskedge.bundle.format import Bundle
from maskedge.inference.encoding import TextEncoder
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.errors import CheckpointError
from maskedge_export.evaluation.attention import AttentionComparison, attention_reference, compare_attention
from maskedge_export.evaluation.comparison import Comparison, compare
from maskedge_export.evaluation.evaluation_set import evaluation_set
from maskedge_export.evaluation.gate import GATE, Gate
from maskedge_export.evaluation.logprobs import (
    Logprobs,
    graph_logprobs,
    model_logprobs,
    standard_logprobs,
    standard_reference,
)
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.evaluation.texts import read_texts, split_texts, too_few
from maskedge_export.progress import Progress
from maskedge_export.tokenization.loading import check_tokenizer

__all__ = ["Proof", "verify_bundle"]


@dataclass(frozen=True, slots=True)
class Proof:
    """One graph compared with PyTorch."""

    file: str
    """The graph's path in the bundle."""
    comparison: Comparison
    attention: AttentionComparison | None
    """Of its attention graph, where it has one."""
    failures: tuple[str, ...]
    """What lies outside the limits, a sentence each."""


def verify_bundle(
    bundle: Bundle,
    checkpoint: str,
    paths: Sequence[Path],
    gate: Gate = GATE,
    *,
    revision: str | None = None,
    other_checkpoint: bool = False,
    progress: Progress = lambda step: None,
) -> list[Proof]:
    """Every graph of the bundle, the standard ones padded, compared with the checkpoint's model in PyTorch.

    The masked tokens are those of the text that an export with this text holds out; all of them where it is too short
    to divide.

    Args:
        bundle: The bundle.
        checkpoint: What it was made of: a directory or a Hub id.
        paths: Text, JSONL and Parquet files, or globs of them.
        gate: The limits of each precision.
        revision: Of a Hub checkpoint: a branch, tag or commit.
        other_checkpoint: Accept a checkpoint of another fingerprint than the manifest's, or with another tokenizer.
        progress: Called with each step's name.

    Raises CheckpointError where the checkpoint is another than the bundle was made of, or reads text in another way,
    unless `other_checkpoint` allows it, and CalibrationTextError for text that cannot be used.
    """
    texts = read_texts(paths)
    progress("Loading the checkpoint")
    source = load_checkpoint(checkpoint, revision=revision)
    _check_source(bundle, source, other_checkpoint)
    encoder = TextEncoder.of_bundle(bundle)
    if not other_checkpoint:
        check_tokenizer(source.path, encoder, texts, f"{bundle.path / 'tokenizer.json'}")
    few = too_few(texts)
    evaluated_on = evaluation_set(texts if few else split_texts(texts)[1], encoder, all_the_model_knows=few)
    attention = _attention(bundle, source, evaluated_on.length_sweep)
    proofs = []
    for precision, file, reference, logprobs in _graphs(bundle, source):
        progress(f"Comparing {file} with PyTorch")
        batches, pairs = evaluated_on.for_fp32 if precision == "fp32" else evaluated_on.for_quantized
        comparison, heads = compare(reference, logprobs, batches, pairs), attention.get(file)
        failures = [*gate[precision].failures(comparison), *(heads.failures(precision) if heads else ())]
        proofs.append(Proof(file, comparison, heads, tuple(failures)))
    return proofs


def _check_source(bundle: Bundle, source: Checkpoint, other_checkpoint: bool) -> None:
    said, found = bundle.manifest.source["fingerprint"], source.fingerprint
    if said != found and not other_checkpoint:
        raise CheckpointError(
            f"{source.path} is not the checkpoint that {bundle.path} was made of: its fingerprint is {found[:12]}, not "
            f"{said[:12]}; name that one ({bundle.manifest.source['name']}), or compare with this one all the same "
            "with --other-checkpoint"
        )
    if source.vocab_size != bundle.manifest.vocab_size:
        raise CheckpointError(
            f"{source.path} predicts {source.vocab_size} tokens, and {bundle.path} {bundle.manifest.vocab_size}: they "
            "cannot be compared"
        )


def _attention(bundle: Bundle, source: Checkpoint, batches: Sequence[MaskedBatch]) -> dict[str, AttentionComparison]:
    """By scoring graph's file, how its attention graph compares with PyTorch."""
    entries = bundle.manifest.attention
    reference = attention_reference(source.model, batches) if entries else None
    return {
        bundle.manifest.graphs[precision].file: compare_attention(reference, OnnxGraph(bundle.graph_file(entry)))
        for precision, entry in entries.items()
        if reference
    }


def _graphs(bundle: Bundle, source: Checkpoint) -> Iterator[tuple[str, str, Logprobs, Logprobs]]:
    """Each graph's precision, file, what PyTorch says, and what the graph says."""
    reference, typed = model_logprobs(source.model, source.vocab_size), standard_reference(source)
    for precision, entry in bundle.manifest.graphs.items():
        graph = graph_logprobs(OnnxGraph(bundle.graph_file(entry)), bundle.manifest.vocab_size)
        yield precision, entry.file, reference, graph
    for precision, entry in bundle.manifest.standard.items():
        yield precision, entry.file, typed, standard_logprobs(bundle.graph_file(entry), source)
