"""maskedge: the graphs of a checkpoint's bundle, in every engine that `Predictor.load` offers.

docs/guides/embed.md: `fill` takes many texts at once. `Predictor(list)` is the call that stands for the pipeline's.

`prepare` is run in the development environment, which exports; all else in one with the runtime only.
"""

import typing
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from peers.contender import FILL, SCORE, Contender, Model, Variants

__all__ = ["load", "prepare", "variants"]

EXPORTED = "int8-avx2,int8,fp32"
"""The graphs that are compared; the first is the default."""
BUNDLED_MODEL = "default"
"""The model whose int8 graphs the package ships, made with more calibration text: only its fp32 is exported."""
ENGINES = {"kernels": ", kernels", "onnxruntime": "", "openvino": ", OpenVINO"}
"""The engines that there may be, and what the table calls them."""
CALL = ", Predictor(list)"
SHARED = ", all threads on one batch"


class Offer(NamedTuple):
    """How a predictor is loaded and asked."""

    bundle: Path | None
    """None is the one that the package ships."""
    graph: str
    engine: str
    called: bool = False
    """Whether the predictor itself is called, as the pipeline is, and not `fill`."""
    shared: bool = False
    """Whether all threads share each batch, which is for one text at a time."""


def prepare(model: Model) -> None:
    """Export a bundle."""
    from maskedge_export.bundles.export import ExportOptions, export_bundle

    bundle = model.directory / "bundle"
    if bundle.is_dir():
        return
    if model.name == BUNDLED_MODEL:
        options = ExportOptions("fp32", gate=False)
    else:
        options = ExportOptions(EXPORTED, calibration=(model.calibration,), gate=False)
    export_bundle(str(model.checkpoint), bundle, options)


def variants(model: Model) -> Variants:
    """Each graph in each engine; of the default graph, in the engine that it has by default, also the call, among
    sentences only, and threads that share a batch, with one sentence only."""
    from maskedge import Predictor

    graph, bundle = next(iter(graphs(model).items()))
    engines = [Predictor.load(bundle, precision=graph, threads_per_batch=share).engine for share in (1, 2)]
    return {
        name: workloads(offer)
        for name, offer in offers(model).items()
        if not (offer.called or offer.shared) or (offer.graph, offer.engine) == (graph, engines[offer.shared])
    }


def workloads(offer: Offer) -> Sequence[str]:
    """What an offer is measured on."""
    if offer.called:
        return ("sentences",)
    return ("one",) if offer.shared else (*FILL, *SCORE)


def offers(model: Model) -> dict[str, Offer]:
    """Whatever there is to be asked, by the table's names. Opens no graph: a first answer is timed from here."""
    found: dict[str, Offer] = {}
    for graph, bundle in graphs(model).items():
        for engine in engines():
            if engine == "kernels" and not graph.startswith("int8"):
                continue
            plain, name = Offer(bundle, graph, engine), f"{graph}{ENGINES[engine]}"
            found[name] = plain
            found[f"{name}{CALL}"] = plain._replace(called=True)
            found[f"{name}{SHARED}"] = plain._replace(shared=True)
    return found


def graphs(model: Model) -> dict[str, Path | None]:
    """The names of graphs, the default first, and the bundle that has each."""
    from maskedge.bundle.format import DEFAULT_BUNDLE, Bundle

    def names(bundle: Path) -> list[str]:
        return list(Bundle.open(bundle, verify=False).manifest.graphs)

    own = model.directory / "bundle"
    shipped = names(DEFAULT_BUNDLE) if model.name == BUNDLED_MODEL else []
    return dict.fromkeys(shipped) | {graph: own for graph in names(own) if graph not in shipped}


def engines() -> list[str]:
    """Those that `Predictor.load` knows and this environment has."""
    from maskedge import Predictor

    known = typing.get_args(typing.get_type_hints(Predictor.load).get("engine")) or ("onnxruntime",)
    return [name for name in ENGINES if name in known and is_there(name)]


def is_there(engine: str) -> bool:
    """Whether this environment has an engine; the kernels are compiled as maskedge is installed."""
    if engine != "kernels":
        return find_spec(engine) is not None
    from maskedge.bundle.cpu import cpu_features
    from maskedge.kernels.library import LIBRARY

    return LIBRARY.is_file() and cpu_features().avx512_vnni


def load(model: Model, variant: str) -> Contender:
    """A predictor."""
    from maskedge import Predictor

    offer = offers(model)[variant]
    options: dict[str, Any] = {"engine": offer.engine} if len(engines()) > 1 else {}
    options |= {"threads": 1, "threads_per_batch": model.threads} if offer.shared else {"threads": model.threads}
    return Ours(Predictor.load(offer.bundle, precision=offer.graph, **options), offer.called)


class Ours:
    """A predictor."""

    def __init__(self, predictor: Any, called: bool) -> None:
        self.predictor, self.called = predictor, called

    def fill(self, texts: list[str]) -> list[int]:
        """The best token at the mask of each text."""
        if self.called:
            return [answers[0]["token"] for answers in self.predictor(texts)]
        return [fill.masks[0].predictions[0].token for fill in self.predictor.fill(texts)]

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text, nats."""
        return [score.pll for score in self.predictor.score(texts)]
