"""The model of a job: chosen and checked without loading it, loaded wherever a shard is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from maskedge import BundleCorruptError, Predictor
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import EngineChoice, EngineName
from maskedge.bundle.engine_choice import choose_engine
from maskedge.bundle.format import Bundle
from maskedge.bundle.golden_vectors import choose_precision
from maskedge.bundle.hub import find_bundle
from maskedge_batch.errors import InputError

__all__ = ["Model", "choose_model"]


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle, one of its graphs, and what runs it."""

    source: str | Path | None
    """As `Predictor.load` takes it."""
    revision: str | None
    path: Path
    name: str
    precision: str
    runtime: EngineName
    """What runs the graph: an engine of `Predictor.load`."""
    fingerprint: str
    """SHA-256 over the bundle's files."""
    vocab_size: int
    verification: Mapping[str, str | float]
    """How the graph compares with its checkpoint, from the manifest."""

    def check_attention(self) -> None:
        """Raises BundleNotFoundError where the graph has none of attention beside it."""
        Bundle.open(self.path, verify=False).attention_graph(self.precision)

    def load(self, threads: int | None = None, before_batch: Callable[[int], None] | None = None) -> Predictor:
        """The predictor. Its files are taken to be those that `choose_model` compared with their hashes."""
        return Predictor.load(
            self.path,
            precision=self.precision,
            engine=self.runtime,
            threads=threads,
            verify=False,
            before_batch=before_batch,
        )

    def load_elsewhere(self, threads: int) -> Predictor:
        """The predictor on another machine, or in another process, where the bundle may lie at another place.

        Raises BundleError where the model is missing there, or is another.
        """
        there = choose_model(self.source, self.revision, self.precision, self.runtime)
        if there.fingerprint != self.fingerprint:
            raise BundleCorruptError(f"{there.path} is another bundle than the one that the run began with")
        return there.load(threads)


def choose_model(
    source: str | Path | None,
    revision: str | None = None,
    precision: str | None = None,
    runtime: EngineChoice = "auto",
) -> Model:
    """The model of a bundle; every file is compared with its hash.

    Args:
        source: As `Predictor.load` takes it.
        revision: Likewise.
        precision: Likewise; None: the first that this CPU computes rightly.
        runtime: As its `engine`.

    Raises:
        BundleError: There is no such bundle or graph, or a file, which is named, is missing or altered.
        EngineError: What is to run the graph is not installed, or does not compute what it should.
        InputError: A revision was given of what is not on the Hub.
    """
    bundle = Bundle.open(_found(source, revision))
    manifest = bundle.manifest
    chosen, entry = bundle.graph(choose_precision(manifest.graphs, precision, cpu_features()))
    figures = {name: value for name, value in entry.verification.items() if isinstance(value, str | int | float)}
    return Model(
        source=source,
        revision=revision,
        path=bundle.path,
        name=manifest.name,
        precision=chosen,
        runtime=choose_engine(bundle, chosen, runtime),
        fingerprint=bundle.fingerprint,
        vocab_size=manifest.vocab_size,
        verification=figures,
    )


def _found(source: str | Path | None, revision: str | None) -> Path:
    try:
        return find_bundle(source, revision)
    except ValueError as error:
        what = "maskedge's own model has no revisions" if source is None else str(error)
        raise InputError(f"{what}: name a model of the Hub with --model, or leave --revision out.") from error
