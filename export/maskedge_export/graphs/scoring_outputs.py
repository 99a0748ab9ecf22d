"""Logits -> top-k, log-probabilities, ranks and entropy, in the graph."""

import numpy as np
import onnx_ir as ir

from maskedge.bundle.format import GRAPH_INPUTS, GRAPH_OUTPUTS

__all__ = ["add_scoring_outputs", "ask_everywhere"]

ALIGNED = 16
"""Numbers between whose multiples every row begins alike in memory: 64 bytes, the widest that CPUs read at once."""


def add_scoring_outputs(model: ir.Model, vocab_size: int | None = None) -> None:
    """Replace the graph's logits by what the runtime asks for: log-probabilities, ranks, entropy.

    They are computed in the graph rather than in numpy because each looks at the whole vocabulary.

    Args:
        model: A graph that ends in logits, changed in place.
        vocab_size: How many tokens the tokenizer has; all that have logits where None. A head may have more rows: those
            keep their share of the probability, as in transformers, but are never ranked or returned.
    """
    graph = model.graph
    logits = graph.outputs[0]
    target_ids = _input("target_ids", ["batch", "masks", "targets"])
    top_k = _input("top_k", [1])
    graph.inputs.extend([target_ids, top_k])
    tape = ir.tape.Tape(graph)
    last = tape.initializer(ir.tensor(np.array([-1]), name="last_axis"))
    logprobs = tape.op("LogSoftmax", [logits], {"axis": -1})
    assert logits.shape is not None
    if vocab_size is not None and vocab_size != logits.shape[-1]:
        logprobs = _first(tape, logprobs, vocab_size, last)
    top_logprobs, top_ids = tape.op_multi_out("TopK", [logprobs, top_k], {"axis": -1}, num_outputs=2)
    terms = _aligned(tape, _p_log_p(tape, logprobs), vocab_size or logits.shape[-1], last)
    expected = tape.op("ReduceSum", [terms, last], {"keepdims": 0})
    targets = tape.op("GatherElements", [logprobs, target_ids], {"axis": -1})
    results = {
        "top_logprobs": top_logprobs,
        "top_ids": top_ids,
        "entropy": tape.op("Neg", [expected]),
        "target_logprobs": targets,
        "target_ranks": _ranks(tape, logprobs, targets, last),
    }
    graph.outputs.clear()
    for name in GRAPH_OUTPUTS:
        value = results[name]
        value.name = name
        value.dtype = ir.DataType.INT64 if GRAPH_OUTPUTS[name].startswith("int64") else ir.DataType.FLOAT
        graph.outputs.append(value)
    assert [value.name for value in graph.inputs] == list(GRAPH_INPUTS)


def ask_everywhere(model: ir.Model) -> None:
    """Let a scoring graph look at every position: all of them take the place of the masks' positions. Of its inputs
    only `input_ids` is left; whatever needs the others must not be asked for."""
    input_ids, mask_positions, *_ = model.graph.inputs
    tape = ir.tape.Tape(model.graph)
    zero, one = (tape.initializer(ir.tensor(np.array(number), name=f"everywhere.{number}")) for number in (0, 1))
    length = tape.op("Gather", [tape.op("Shape", [input_ids]), one])
    positions = tape.op("Range", [zero, length, one])
    everywhere = tape.op("Expand", [positions, tape.op("Shape", [input_ids])])
    ir.convenience.replace_all_uses_with(mask_positions, everywhere)
    model.graph.inputs[:] = [input_ids]


def _p_log_p(tape: ir.tape.Tape, logprobs: ir.Value) -> ir.Value:
    """p log p of each token; 0 for one that is ruled out, whose log-probability is -infinity."""
    lowest = tape.initializer(ir.tensor(np.array(np.finfo(np.float32).min), name="lowest"))
    return tape.op("Mul", [tape.op("Exp", [logprobs]), tape.op("Max", [logprobs, lowest])])


def _aligned(tape: ir.tape.Tape, terms: ir.Value, count: int | ir.SymbolicDim, last: ir.Value) -> ir.Value:
    """The terms with zeros behind each row. onnxruntime sums a row in an order that depends on where it begins; rows of
    30,522 numbers begin differently, and a text's entropy would depend on its place in the batch."""
    assert isinstance(count, int)
    if count % ALIGNED == 0:
        return terms
    pads = tape.initializer(ir.tensor(np.array([0, -count % ALIGNED]), name="up_to_aligned"))
    zero = tape.initializer(ir.tensor(np.array(0, np.float32), name="no_more"))
    return tape.op("Pad", [terms, pads, zero, last])


def _first(tape: ir.tape.Tape, logprobs: ir.Value, count: int, last: ir.Value) -> ir.Value:
    start, stop = (tape.initializer(ir.tensor(np.array([at]), name=f"token_{at}")) for at in (0, count))
    return tape.op("Slice", [logprobs, start, stop, last])


def _ranks(tape: ir.tape.Tape, logprobs: ir.Value, targets: ir.Value, last: ir.Value) -> ir.Value:
    """1 + the number of tokens with a greater log-probability than each target."""
    middle = tape.initializer(ir.tensor(np.array([-2]), name="middle_axis"))
    one = tape.initializer(ir.tensor(np.array(1), name="one"))
    all_tokens = tape.op("Unsqueeze", [logprobs, middle])  # [batch, masks, 1, vocabulary]
    each_target = tape.op("Unsqueeze", [targets, last])  # [batch, masks, targets, 1]
    greater = tape.op("Greater", [all_tokens, each_target])
    # counted in float32, exact to 16 million and faster to sum than integers
    better = tape.op("ReduceSum", [tape.op("Cast", [greater], {"to": ir.DataType.FLOAT}), last], {"keepdims": 0})
    return tape.op("Add", [tape.op("Cast", [better], {"to": ir.DataType.INT64}), one])


def _input(name: str, shape: list[str | int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.INT64))
