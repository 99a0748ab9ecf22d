"""Which engine runs a bundle's graph on this machine: the one that is asked for, or the faster one."""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from maskedge.bundle.checked_graph import CheckedGraph
from maskedge.bundle.cpu import CpuFeatures, cpu_features
from maskedge.bundle.engine import BeforeBatch, EngineChoice, EngineName, Graph, OnnxGraph, WatchedGraph
from maskedge.bundle.format import Bundle
from maskedge.bundle.golden_vectors import padding_is_exact, replay
from maskedge.bundle.huge_pages import OnHugePages, move_to_huge_pages
from maskedge.bundle.padding import UNPADDED
from maskedge.errors import EngineError, UnsupportedGraphError
from maskedge.kernels.library import LIBRARY
from maskedge.kernels.pages import are_given

if TYPE_CHECKING:
    from maskedge.bundle.kernel_graph import KernelGraph

__all__ = ["EXACT", "choose_engine", "load_graph", "open_attention_graph", "open_graph", "preferred"]

logger = logging.getLogger("maskedge.engine")

INTEGER = ("int8", "int8-avx2")
"""The precisions whose products are of 8-bit integers, weights and activations."""

LARGE = 50_000_000
"""Bytes from which a graph is worth OpenVINO's longer start: between the two that were measured."""

NAMES: dict[EngineName, str] = {"kernels": "the engine kernels", "onnxruntime": "onnxruntime", "openvino": "OpenVINO"}
"""Engines as messages name them."""

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
        engine: `auto` is the first that `preferred` names, is there, runs the graph, and finds its golden vectors
            again; onnxruntime is not asked to.
        threads: Calls that are to run at once.
        before_batch: Called before each run of the graph.
        threads_per_batch: That share each of these calls.

    Raises:
        EngineError: The engine that was asked for is not installed, cannot run the graph, or computes something else.
        ValueError: There is no such engine.
    """
    opened, name = _opened(bundle, precision, engine, threads, threads_per_batch)
    has_small_pages = name != "kernels" and are_given()  # the kernels ask for huge ones themselves
    graph = OnHugePages(opened, move_to_huge_pages) if has_small_pages else opened
    return graph if before_batch is None else WatchedGraph(graph, before_batch), name


def choose_engine(bundle: Bundle, precision: str, engine: EngineChoice) -> EngineName:
    """The engine that `open_graph` finds, and raises as that does. onnxruntime does not load the graph for it."""
    if _choices(bundle, precision, engine, threads_per_batch=1)[0] == "onnxruntime":
        return "onnxruntime"
    return open_graph(bundle, precision, engine, threads=1)[1]


def open_attention_graph(bundle: Bundle, precision: str, engine: EngineName, threads: int) -> Graph:
    """The graph of a precision's attention, which no kernel gives: in their place onnxruntime runs it.

    Raises:
        BundleNotFoundError: The bundle has none.
        EngineError: As `open_graph`.
    """
    able: EngineName = "onnxruntime" if engine == "kernels" else engine
    return load_graph(bundle.graph_file(bundle.attention_graph(precision)), able, threads)


def load_graph(
    path: Path, engine: EngineName, threads: int, threads_per_batch: int = 1, max_length: int | None = None
) -> Graph:
    """The graph of a file in an engine, which runs so many calls at once, each on so many threads.

    Where `max_length` is given, texts may be padded up to so many tokens.

    Raises EngineError where the engine is not installed or cannot read the graph.
    """
    if engine == "onnxruntime":
        return OnnxGraph(path, threads=threads_per_batch)
    if engine == "kernels":
        from maskedge.bundle.kernel_graph import KernelGraph

        return KernelGraph(path, max_length, threads_per_batch=threads_per_batch)
    try:
        from maskedge.bundle.openvino_graph import OpenVinoGraph
    except ImportError as error:
        raise EngineError(f"the engine openvino cannot be used ({error}): pip install 'maskedge[openvino]'") from error
    return OpenVinoGraph(path, threads, threads_per_batch, max_length)


def preferred(precision: str, cpu: CpuFeatures, size: int, threads_per_batch: int = 1) -> tuple[EngineName, ...]:
    """The engines for a graph of a precision and so many bytes on a CPU, the fastest first, as far as was measured.

    The kernels are the fastest for what they are made for (docs/results/engines.json). Of the others, a BERT-base of
    8-bit integers (111 MB) is faster in OpenVINO on an Intel CPU with AMX, where it takes more memory; smaller graphs
    are no faster there, and take four times as long to the first answer. Nothing was measured on ARM, nor of other
    precisions.
    """
    integer, alone = precision in INTEGER, threads_per_batch == 1
    fastest: list[EngineName] = []
    if integer and cpu.avx512_vnni:
        fastest.append("kernels")
    if integer and cpu.amx_int8 and size >= LARGE and alone:
        fastest.append("openvino")
    return (*fastest, "onnxruntime")


def _choices(bundle: Bundle, precision: str, engine: EngineChoice, threads_per_batch: int) -> tuple[EngineName, ...]:
    """The engines to try, one after the other."""
    if engine not in get_args(EngineChoice):
        raise ValueError(f"there is no engine {engine!r}; there are: {', '.join(get_args(EngineChoice))}")
    if engine != "auto":
        return (engine,)
    if not bundle.manifest.graphs[precision].golden:  # nothing would prove another
        return ("onnxruntime",)
    size = _size(bundle, precision)
    return tuple(filter(_is_there, preferred(precision, cpu_features(), size, threads_per_batch)))


def _is_there(engine: EngineName) -> bool:
    """Whether an engine is installed."""
    return LIBRARY.is_file() if engine == "kernels" else find_spec(engine) is not None


def _size(bundle: Bundle, precision: str) -> int:
    """Bytes of a graph and its weights."""
    return sum(bundle.manifest.files[name].size for name in bundle.graph_files(bundle.manifest.graphs[precision]))


def _opened(
    bundle: Bundle, precision: str, engine: EngineChoice, threads: int, threads_per_batch: int
) -> tuple[Graph, EngineName]:
    path = bundle.graph_file(bundle.graph(precision)[1])

    def opened(name: EngineName) -> "CheckedGraph | KernelGraph":
        manifest = bundle.manifest
        if name == "kernels":  # what they give needs no look: it is theirs, whatever is in the files
            from maskedge.bundle.kernel_graph import KernelGraph

            return KernelGraph(path, manifest.max_length, manifest.vocab_size, threads_per_batch)
        graph = load_graph(path, name, threads, threads_per_batch, manifest.max_length)
        return CheckedGraph(graph, path, manifest.vocab_size)

    *others, last = _choices(bundle, precision, engine, threads_per_batch)
    for name in others:
        try:
            return _proved(bundle, precision, opened, name), name
        except UnsupportedGraphError as error:
            logger.debug(error)
        except EngineError as error:
            logger.warning(f"another engine runs the graph: {error}")
    return (opened(last) if last == "onnxruntime" else _proved(bundle, precision, opened, last)), last


def _proved(
    bundle: Bundle,
    precision: str,
    opened: Callable[[EngineName], "CheckedGraph | KernelGraph"],
    engine: EngineName,
) -> Graph:
    """A graph that computes in an engine what it computed where it was made."""
    if engine == "openvino" and precision not in EXACT:
        why = f"in a graph of {precision} it gives a text other bits alone than among others; take onnxruntime"
        raise EngineError(f"OpenVINO runs {', '.join(EXACT)}: {why}")
    graph = opened(engine)
    golden = bundle.manifest.graphs[precision].golden
    found = replay(graph, precision, golden, cpu_features(), engine)
    if not found.passed:
        off = f"differs by {found.max_logprob_difference:.2g} nats, and {found.tolerance:g} are allowed"
        what = f"the golden vectors of {bundle.manifest.name}'s {precision} graph"
        raise EngineError(f"{NAMES[engine]} {off}, from {what}; take the engine onnxruntime")
    if not padding_is_exact(graph, golden):
        graph.padding = UNPADDED
    return graph
