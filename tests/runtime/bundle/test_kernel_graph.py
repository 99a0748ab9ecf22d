"""The bundled model in the kernels: onnxruntime's answers, the same bits whatever a text is batched with, and graphs
that they are not made for."""

import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from maskedge import EngineError, Predictor, UnsupportedGraphError
from maskedge.bundle import kernel_graph
from maskedge.bundle.cpu import CpuFeatures, cpu_features
from maskedge.bundle.engine import Graph, OnnxGraph, graph_inputs, prepared
from maskedge.bundle.kernel_graph import KernelGraph
from maskedge.bundle.padding import UNPADDED
from maskedge.kernels.batch import Room
from maskedge.kernels.graph_file import GraphFile, Node, read_graph
from maskedge.kernels.plan import plan_of
from maskedge.kernels.recognition import UnrecognizedError, recognize
from maskedge.kernels.workspace import Workspace

pytestmark = pytest.mark.usefixtures("kernels")

FILE = Path(kernel_graph.__file__).parents[1] / "default_bundle" / "onnx" / "int8-avx2.onnx"
WITHOUT_AMX = Path(__file__).parents[3] / "benchmarks" / "without_amx.py"
OUTPUTS = ["top_logprobs", "top_ids", "entropy", "target_logprobs", "target_ranks"]


@pytest.fixture(scope="module")
def graph(kernels: None) -> KernelGraph:
    return KernelGraph(FILE, 512)


@pytest.fixture(scope="module")
def onnx_graph() -> OnnxGraph:
    return OnnxGraph(FILE)


@pytest.fixture(scope="module")
def file() -> GraphFile:
    return read_graph(FILE)


def answers(graph: Graph, inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    """All outputs of a graph, or some."""
    return graph.run([*names] or OUTPUTS, inputs)


def drawn_inputs(seed: int, rows: int, length: int, masks: int, targets: int = 1, top_k: int = 5) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    ids = random.integers(1000, 30000, (rows, length))
    positions = np.sort(np.argsort(random.random((rows, length)), axis=1)[:, :masks], axis=1)
    np.put_along_axis(ids, positions, 103, axis=1)
    return graph_inputs(ids, positions, random.integers(1000, 30000, (rows, masks, targets)), top_k)


@pytest.mark.parametrize(("rows", "length", "masks"), [(1, 3, 1), (5, 9, 2), (33, 24, 1), (3, 130, 3), (1, 512, 5)])
def test_its_answers_are_onnxruntime_s_as_near_as_rounding_allows(
    graph: KernelGraph, onnx_graph: OnnxGraph, rows: int, length: int, masks: int
) -> None:
    inputs = drawn_inputs(rows, rows, length, masks, targets=4)
    found, expected = answers(graph, inputs), answers(onnx_graph, inputs)
    for name in OUTPUTS:
        assert found[name].shape == expected[name].shape
        assert found[name].dtype == expected[name].dtype
    off = np.abs(found["target_logprobs"] - expected["target_logprobs"])
    assert np.median(off) < 0.1  # those of one mask go together
    assert off.max() < 0.5
    assert np.abs(found["entropy"] - expected["entropy"]).max() < 0.1
    assert np.mean(found["top_ids"][..., 0] == expected["top_ids"][..., 0]) > 0.7


@pytest.mark.parametrize("top_k", [0, 1, 64, 65, 30522])
def test_candidates_are_the_most_probable_tokens_in_their_order(graph: KernelGraph, top_k: int) -> None:
    inputs = drawn_inputs(0, 2, 8, 2, top_k=top_k)
    everything = graph_inputs(inputs["input_ids"], inputs["mask_positions"], np.arange(30522) + np.zeros((2, 2, 1)), 0)
    logprobs = answers(graph, everything, "target_logprobs")["target_logprobs"]
    found = answers(graph, inputs, "top_logprobs", "top_ids")
    expected = np.argsort(-logprobs, axis=-1, kind="stable")[..., :top_k]
    assert np.array_equal(found["top_ids"], expected)
    assert found["top_logprobs"].tobytes() == np.take_along_axis(logprobs, expected, axis=-1).tobytes()


def test_a_rank_is_one_more_than_the_tokens_that_are_more_probable(graph: KernelGraph) -> None:
    inputs = drawn_inputs(1, 3, 12, 1, targets=30)
    found = answers(graph, inputs, "target_ranks", "target_logprobs")
    ranked = answers(graph, inputs | {"top_k": np.array([30522])}, "top_logprobs")["top_logprobs"]
    more = (ranked[..., np.newaxis, :] > found["target_logprobs"][..., np.newaxis]).sum(axis=-1)
    assert np.array_equal(found["target_ranks"], more + 1)


def test_padding_changes_no_bit_and_texts_of_all_lengths_share_a_batch(graph: KernelGraph) -> None:
    lengths = np.array([40, 3, 17, 39, 1, 25])
    inputs = drawn_inputs(2, 6, 40, 1)
    inputs["mask_positions"] = np.minimum(inputs["mask_positions"], lengths[:, np.newaxis] - 1)
    together = answers(graph, inputs | {"lengths": lengths})
    for row, length in enumerate(lengths):
        mine = {name: values[row : row + 1] for name, values in inputs.items() if name != "top_k"}
        alone = answers(graph, mine | {"input_ids": mine["input_ids"][:, :length], "top_k": inputs["top_k"]})
        assert all(alone[name].tobytes() == together[name][row : row + 1].tobytes() for name in OUTPUTS)


def test_a_cpu_without_amx_gives_the_same_bits(graph: KernelGraph, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not amx:
        pytest.skip("this CPU has no AMX")
    inputs = drawn_inputs(3, 9, 21, 2)
    with_amx = answers(graph, inputs)
    monkeypatch.setattr(kernel_graph, "cpu_features", lambda: replace(cpu_features(), amx_int8=False))
    without = answers(KernelGraph(FILE, 512), inputs)
    assert all(with_amx[name].tobytes() == without[name].tobytes() for name in OUTPUTS)


ANSWERED = """
from maskedge import Predictor
from maskedge.bundle.cpu import cpu_features
predictor = Predictor.load(engine="kernels")
print(cpu_features().amx_int8, *[each["score"].hex() for each in predictor("The [MASK] sat on the mat.")])
"""


def test_where_linux_refuses_the_tiles_answers_have_the_same_bits(amx: bool) -> None:
    command = [sys.executable, "-c", ANSWERED]
    said, *given = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    refusing = [sys.executable, str(WITHOUT_AMX), *command]
    refused, *without = subprocess.run(refusing, capture_output=True, text=True, check=True).stdout.split()
    assert (said, refused) == (str(amx), "False")
    assert given == without


@pytest.mark.parametrize("top_k", [5, 100])
@pytest.mark.parametrize("length", [3, 40, 127, 300, 512])
def test_idle_threads_that_join_a_call_change_no_bit(graph: KernelGraph, length: int, top_k: int) -> None:
    inputs = drawn_inputs(length, 1, length, 2, top_k=top_k)
    expected = answers(graph, inputs)
    for threads in (2, 3, 4):
        joined = answers(KernelGraph(FILE, 512, threads_per_batch=threads), inputs)
        assert all(joined[name].tobytes() == expected[name].tobytes() for name in OUTPUTS)


def test_idle_threads_join_a_large_model_s_call_that_has_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelGraph, "_is_small", lambda _: False)
    predictor = Predictor.load(engine="kernels", threads=3)
    members = members_of_runs(monkeypatch)
    predictor.fill(["The [MASK] sat on the mat."])
    assert members == [3]
    predictor.fill(["The [MASK] sat on the mat."] * 3)
    assert members == [3, 1, 1, 1]
    with predictor.sharing_threads() as working:
        working.fill(["The [MASK] sat on the mat."])
    assert members == [3, 1, 1, 1, 1]


def test_no_thread_joins_a_small_model_s_call_unless_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, told = (Predictor.load(engine="kernels", threads=3, threads_per_batch=share) for share in (1, 2))
    members = members_of_runs(monkeypatch)
    for predictor in (alone, told):
        predictor.fill(["The [MASK] sat on the mat."])
    assert members == [1, 2]


def test_no_thread_joins_a_call_while_another_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelGraph, "_is_small", lambda _: False)
    predictor = Predictor.load(engine="kernels", threads=2)
    runs, in_time = Barrier(2), 60
    describe = Workspace.describe

    def together(workspace: Workspace, *arguments: Any) -> None:
        runs.wait(in_time)
        describe(workspace, *arguments)

    monkeypatch.setattr(Workspace, "describe", together)
    members = members_of_runs(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(predictor.fill, [["The [MASK] sat on the mat."]] * 2))
    assert sorted(members) == [1, 2]


def members_of_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of each run from now on."""
    members: list[int] = []
    describe = Workspace.describe

    def counted(workspace: Workspace, batches: Any, wanted: Any, count: int) -> None:
        members.append(count)
        describe(workspace, batches, wanted, count)

    monkeypatch.setattr(Workspace, "describe", counted)
    return members


def test_calls_at_once_have_memory_of_their_own(graph: KernelGraph) -> None:
    batches = [drawn_inputs(seed, 1 + seed % 5, 5 + 7 * seed, 1) for seed in range(12)]
    expected = [answers(graph, inputs) for inputs in batches]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda inputs: answers(graph, inputs), batches * 5))
    for got, wanted in zip(found, expected * 5, strict=True):
        assert all(got[name].tobytes() == wanted[name].tobytes() for name in OUTPUTS)


FORKED = """
import os, pickle
from maskedge import Predictor
predictor = Predictor.load(engine="kernels", threads=2)
texts = ["the [MASK] water"] * 40 + ["an old [MASK] of the sea"]
before = predictor.fill(texts)
child = os.fork()
if child == 0:
    os._exit(0 if predictor.fill(texts) == before else 1)
assert predictor.fill(texts) == before
copied = pickle.loads(pickle.dumps(predictor))
assert copied.engine == "kernels" and copied.fill(texts) == before
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_forked_process_and_a_copy_go_on_with_the_same_bits() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_it_is_the_engine_of_the_bundled_model_where_it_can_be() -> None:
    predictor = Predictor.load()
    assert predictor.engine == "kernels"
    assert predictor.verify().passed
    assert predictor.verify().engine == "kernels"


@pytest.mark.parametrize(
    "inputs",
    [
        graph_inputs([[101, 30522, 102]], [[1]], [[[0]]], 1),
        graph_inputs([[101, -1, 102]], [[1]], [[[0]]], 1),
        graph_inputs([[101, 103, 102]], [[3]], [[[0]]], 1),
        graph_inputs([[101, 103, 102]], [[-1]], [[[0]]], 1),
        graph_inputs([[103] * 513], [[1]], [[[0]]], 1),
        graph_inputs([[101, 103, 102]], [[1]], [[[30522]]], 1),
        graph_inputs([[101, 103, 102]] * 2, [[1], [2]], [[[0]]] * 2, 1) | {"lengths": np.array([3, 2])},
    ],
)
def test_what_the_graph_has_no_row_for_is_refused(graph: KernelGraph, inputs: dict[str, Any]) -> None:
    with pytest.raises(
        EngineError,
        match=r"asks for row -?\d+ of an embedding that has \d+|outside of its text|another one is to be rated",
    ):
        graph.run(OUTPUTS, inputs)


def test_what_is_prepared_runs_later_in_any_thread(graph: KernelGraph) -> None:
    some, others = (drawn_inputs(seed, rows=8, length=20, masks=1) for seed in (1, 2))
    runs = [prepared(graph, OUTPUTS, inputs) for inputs in (some, others)]
    with ThreadPoolExecutor(1) as pool:
        found = [pool.submit(run).result() for run in reversed(runs)]
    for answer, inputs in zip(reversed(found), (some, others), strict=True):
        expected = answers(graph, inputs)
        assert all(np.array_equal(answer[name], expected[name]) for name in OUTPUTS)


def test_a_graph_of_more_tokens_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(UnsupportedGraphError, match="it has 30522 tokens, and the vocabulary 30000"):
        KernelGraph(FILE, 512, 30_000)


def test_what_a_batch_costs_is_counted(file: GraphFile) -> None:
    """More calls would be more work: a product of each weight but those that attention multiplies by; nothing that is
    normalized apart from what makes it; one rounding of rows for each layer but the last. What masks saw and were is
    gathered, the former as levels of two terms."""
    workspace = Workspace(plan_of(recognize(file)), Room(64, 8, 32), has_amx=False)
    assert Counter(workspace.kernels) == {
        "embed_rows": 1,
        "multiply": 20,
        "attend_texts": 6,
        "round_rows": 6,
        "take_rows": 1,
        "gather_rows": 3,
    }


def test_without_a_longest_text_nothing_is_padded() -> None:
    assert replace(KernelGraph(FILE).padding, tokens=UNPADDED.tokens) == UNPADDED


def test_another_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_graph, "cpu_features", lambda: CpuFeatures("x86_64", True, avx2=True))
    with pytest.raises(
        UnsupportedGraphError, match="the engine kernels needs a CPU with AVX512-VNNI; take onnxruntime"
    ):
        KernelGraph(FILE)


def test_a_graph_of_another_kind_is_refused_by_name(bundle: Path) -> None:
    with pytest.raises(
        UnsupportedGraphError, match=r"the engine kernels cannot run \S+fp32\.onnx: .*; take onnxruntime"
    ):
        KernelGraph(bundle / "onnx" / "fp32.onnx")


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x3a\x05", bytes(1000)])
def test_a_file_that_holds_no_graph_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(content)
    with pytest.raises(
        UnsupportedGraphError, match=r"int8\.onnx(: it has 0 distributions| is no graph that can be read)"
    ):
        KernelGraph(path)


# What the kernels do not compute is not taken for what they do


def altered(file: GraphFile, operator: str, alter: Callable[[Node], Node]) -> GraphFile:
    """The graph, its first node of a kind another one."""
    place = next(place for place, node in enumerate(file.nodes) if node.operator == operator)
    nodes = [*file.nodes]
    nodes[place] = alter(nodes[place])
    return replace(file, nodes=tuple(nodes))


def with_attribute(**attributes: Any) -> Callable[[Node], Node]:
    return lambda node: replace(node, attributes=node.attributes | attributes)


@pytest.mark.parametrize(
    ("operator", "alter"),
    [
        ("Gelu", with_attribute(approximate="tanh")),
        ("Attention", with_attribute(scale=0.1)),
        ("Attention", with_attribute(softcap=30.0)),
        ("Attention", with_attribute(kv_num_heads=6)),
        ("Attention", lambda node: replace(node, inputs=(*node.inputs, "mask"))),
        ("LayerNormalization", with_attribute(axis=1)),
        ("GatherElements", with_attribute(axis=2)),
        ("Div", lambda node: replace(node, inputs=(node.inputs[0], "quantization.tiny"))),
        ("Abs", lambda node: replace(node, inputs=("layer_norm",))),
        ("Gelu", lambda node: replace(node, operator="Relu")),
        ("Attention", lambda node: replace(node, attributes={})),
        ("LayerNormalization", lambda node: replace(node, attributes={})),
        ("Gelu", lambda node: replace(node, inputs=("input_ids",))),
        ("LogSoftmax", lambda node: replace(node, operator="Softmax")),
        ("Range", lambda node: replace(node, inputs=(*node.inputs[:2], "val_4"))),
    ],
)
def test_a_graph_that_computes_something_else_is_not_recognized(
    file: GraphFile, operator: str, alter: Callable[[Node], Node]
) -> None:
    recognize(file)
    with pytest.raises(UnrecognizedError):
        recognize(altered(file, operator, alter))


def test_however_many_layers_there_are_python_s_stack_holds_one(file: GraphFile) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        plan_of(recognize(file))
    finally:
        sys.setrecursionlimit(limit)


def test_a_row_s_product_must_be_multiplied_by_what_the_row_was_divided_by(file: GraphFile) -> None:
    places = [place for place, node in enumerate(file.nodes) if node.operator == "Mul"]
    divisors = {node.inputs[1] for node in file.nodes if node.operator == "Div"}
    place = next(place for place in places if file.nodes[place].inputs[1] in divisors)
    nodes = [*file.nodes]
    nodes[place] = replace(nodes[place], inputs=(nodes[place].inputs[0], "val_38x"))
    with pytest.raises(UnrecognizedError, match="multiplied by something else than its rows were divided by"):
        recognize(replace(file, nodes=tuple(nodes)))
