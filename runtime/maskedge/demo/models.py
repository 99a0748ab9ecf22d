"""The models that a page offers."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from maskedge.errors import BundleNotFoundError
from maskedge.predictor import Predictor

__all__ = ["ONE_SENTENCE", "Model", "open_models"]

ONE_SENTENCE = Path(__file__).with_name("one_sentence_bundle")
"""The model that knows one sentence by heart, as `make train` makes it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that visitors may choose."""

    name: str
    """What it is called on the page."""
    predictor: Predictor
    slow: Predictor
    """The same with fewer threads, of its own: for what reads a text as often as it has words."""
    no_attention: str | None
    """Why its attention cannot be shown; None where it can."""
    layers_and_heads: tuple[int, int]
    """How many layers it has, and heads in each; 0 where its attention cannot be shown."""


@contextmanager
def open_models(paths: Iterable[str | Path], precision: str | None = None) -> Iterator[dict[str, Model]]:
    """Opens bundles, by name, for calls from many threads at once while the block runs.

    Args:
        paths: As in `Predictor.load`; none for the bundled model and the one of `ONE_SENTENCE`.
        precision: One of the graphs of those bundles, as in `Predictor.load`.

    Raises:
        BundleNotFoundError: As `Predictor.load`.
        BundleCorruptError: As `Predictor.load`.
    """
    predictors = [Predictor.load(path, precision=precision) for path in paths]
    predictors = predictors or [Predictor.load(precision=precision), Predictor.load(ONE_SENTENCE)]
    models: dict[str, Model] = {}
    with ExitStack() as stack:
        for predictor in predictors:
            name = predictor.name if predictor.name not in models else f"{predictor.name} ({predictor.bundle.path})"
            slow = replace(predictor, threads=max(1, predictor.threads // 2))
            models[name] = _model(name, *(stack.enter_context(each.sharing_threads()) for each in (predictor, slow)))
        yield models


def _model(name: str, predictor: Predictor, slow: Predictor) -> Model:
    try:
        predictor.bundle.attention_graph(predictor.precision)
    except BundleNotFoundError:
        why = f"{predictor.name} comes without a graph of its attention; mlm-export bundle makes most checkpoints one."
        return Model(name, predictor, slow, why, (0, 0))
    attention = predictor.attend(predictor.mask_token)
    return Model(name, predictor, slow, None, (attention.layers, attention.heads))
