"""Which engine runs a bundle's graph on this machine: the one that is asked for, or the faster one."""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from maskedge.bundle.checked_graph import CheckedGraph
from maskedge.bundle.cpu import CpuFeatures, cpu_features
from maskedge.bundle.engine import BeforeBatch, EngineChoice, EngineName, Graph, OnnxGraph, WatchedGraph
from maskedge.bundle.format import Bundle
from maskedge.bundle.golden_vectors import padding_is_exact, replay
from maskedge.bundle.huge_pages import OnHugePages, are_given, move_to_huge_pages
from maskedge.bundle.padding import UNPADDED
from maskedge.errors import EngineError

__all__ = ["EXACT", "choose_engine", "load_graph", "open_attention_graph", "open_graph", "preferred"]

logger = logging.getLogger("maskedge.engine")

INTEGER = ("int8", "int8-avx2")
"""The precisions whose products are of 8-bit integers, weights and activations."""

LARGE = 50_000_000
"""Bytes from which a graph is worth OpenVINO's longer start: between the two that were measured."""

EXACT = (*INTEGER, "fp32")
"""The precisions in which OpenVINO gives a row the same bits whatever it is batched with. With weights in blocks
(`int8-weights`, `int4-weights`) 2026.4 gave a row alone other bits than among other rows."""


def open_graph(
    bundle: Bundle,
    precision: str,
    engine: EngineChoice,
    threads: int,
    before_batch: BeforeBatch | None = None,
    threads_per_batch: int = 1,
) -> tuple[Graph, EngineName]:
    """A precision's graph, and the engine that runs it.

    Args:
        bundle: The bundle.
        precision: One of its graphs.
        engine: `auto` is OpenVINO where `preferred` says so and it finds the graph's golden vectors again, else
            onnxruntime.
        threads: Calls that are to run at once.
        before_batch: Called before each run of the graph.
        threads_per_batch: That share each of these calls.

    Raises:
        EngineError: The engine that was asked for is not installed, cannot run the graph, or computes something else.
        ValueError: There is no such engine.
    """
    opened, name = _opened(bundle, precision, engine, threads, threads_per_batch)
    graph = OnHugePages(opened, move_to_huge_pages) if are_given() else opened
    return graph if before_batch is None else WatchedGraph(graph, before_batch), name


def choose_engine(bundle: Bundle, precision: str, engine: EngineChoice) -> EngineName:
    """The engine that `open_graph` finds, and raises as that does. onnxruntime does not load the graph for it."""
    if _first_choice(bundle, precision, engine, threads_per_batch=1) == "onnxruntime":
        return "onnxruntime"
    return open_graph(bundle, precision, engine, threads=1)[1]


def open_attention_graph(bundle: Bundle, precision: str, engine: EngineName, threads: int) -> Graph:
    """The graph of a precision's attention.

    Raises:
        BundleNotFoundError: The bundle has none.
        EngineError: As `open_graph`.
    """
    return load_graph(bundle.graph_file(bundle.attention_graph(precision)), engine, threads)


def load_graph(
    path: Path, engine: EngineName, threads: int, threads_per_batch: int = 1, max_length: int | None = None
) -> Graph:
    """The graph of a file in an engine, which runs so many calls at once, each on so many threads.

    Where `max_length` is given, texts may be padded up to so many tokens.

    Raises EngineError where the engine is not installed or cannot read the graph.
    """
    if engine == "onnxruntime":
        return OnnxGraph(path, threads=threads_per_batch)
    try:
        from maskedge.bundle.openvino_graph import OpenVinoGraph
    except ImportError as error:
        raise EngineError(f"the engine openvino cannot be used ({error}): pip install 'maskedge[openvino]'") from error
    return OpenVinoGraph(path, threads, threads_per_batch, max_length)


def preferred(precision: str, cpu: CpuFeatures, size: int, threads_per_batch: int = 1) -> EngineName:
    """The faster engine for a graph of a precision and so many bytes on a CPU, as far as that was measured.

    On an Intel CPU with AMX a BERT-base of 8-bit integers (111 MB) is faster in OpenVINO, which takes more memory
    (docs/results/side_by_side_amx.json). The bundled model (23 MB) is no faster there (docs/results/engines.json), and
    takes four times as long to its first answer. One text alone is answered sooner in onnxruntime, and who has threads
    share a batch wants that. On a CPU of AMD without AMX OpenVINO gains little or nothing. Nothing was measured on ARM,
    nor of other precisions.
    """
    faster = precision in INTEGER and cpu.amx_int8 and size >= LARGE and threads_per_batch == 1
    return "openvino" if faster else "onnxruntime"


def _first_choice(bundle: Bundle, precision: str, engine: EngineChoice, threads_per_batch: int) -> EngineName:
    if engine not in get_args(EngineChoice):
        raise ValueError(f"there is no engine {engine!r}; there are: {', '.join(get_args(EngineChoice))}")
    if engine != "auto":
        return engine
    provable = bundle.manifest.graphs[precision].golden and find_spec("openvino") is not None
    if not provable:
        return "onnxruntime"
    return preferred(precision, cpu_features(), _size(bundle, precision), threads_per_batch)


def _size(bundle: Bundle, precision: str) -> int:
    """Bytes of a graph and its weights."""
    return sum(bundle.manifest.files[name].size for name in bundle.graph_files(bundle.manifest.graphs[precision]))


def _opened(
    bundle: Bundle, precision: str, engine: EngineChoice, threads: int, threads_per_batch: int
) -> tuple[Graph, EngineName]:
    path = bundle.graph_file(bundle.graph(precision)[1])

    def opened(name: EngineName) -> CheckedGraph:
        manifest = bundle.manifest
        graph = load_graph(path, name, threads, threads_per_batch, manifest.max_length)
        return CheckedGraph(graph, path, manifest.vocab_size)

    if _first_choice(bundle, precision, engine, threads_per_batch) == "openvino":
        try:
            return _proved_openvino(bundle, precision, opened), "openvino"
        except EngineError as error:
            if engine != "auto":
                raise
            logger.warning(f"onnxruntime runs the graph: {error}")
    return opened("onnxruntime"), "onnxruntime"


def _proved_openvino(bundle: Bundle, precision: str, opened: Callable[[EngineName], CheckedGraph]) -> Graph:
    if precision not in EXACT:
        why = f"in a graph of {precision} it gives a text other bits alone than among others; take onnxruntime"
        raise EngineError(f"OpenVINO runs {', '.join(EXACT)}: {why}")
    graph = opened("openvino")
    golden = bundle.manifest.graphs[precision].golden
    found = replay(graph, precision, golden, cpu_features(), "openvino")
    if not found.passed:
        off = f"differs by {found.max_logprob_difference:.2g} nats, and {found.tolerance:g} are allowed"
        what = f"the golden vectors of {bundle.manifest.name}'s {precision} graph"
        raise EngineError(f"OpenVINO {off}, from {what}; take the engine onnxruntime")
    if not padding_is_exact(graph, golden):
        graph.padding = UNPADDED
    return graph
