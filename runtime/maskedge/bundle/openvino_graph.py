"""A graph in OpenVINO, which is imported only where that engine is to run."""

from collections import deque
from functools import cache, partial
from pathlib import Path

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import Outputs
from maskedge.bundle.forking import Reopened
from maskedge.bundle.openvino_library import openvino
from maskedge.bundle.openvino_model import with_fast_products, with_lengths
from maskedge.bundle.padding import UNPADDED, Padding
from maskedge.errors import EngineError

__all__ = ["OpenVinoGraph"]

VECTOR = 16
"""Floats in a register of AVX-512. OpenVINO computes what attention gives to the tokens that fill registers otherwise
than for the rest: texts of 17 and 31 tokens have the same bits when both are padded to 31, and others with 32."""

STEP = 2
"""Lengths that are padded to the longer of them. With 4, 3 % more tokens were computed; with 1 there were twice as many
shapes."""

ROW_BITS = 4
"""Leading bits in which numbers of rows differ. With 3, lengths being as they are, batches took 3 % more time."""

CACHED_KERNELS = 256
"""Compiled kernels that each thread keeps, the last used. Every length and number of rows is another shape, and takes
some 20 for the bundled model. With OpenVINO's own 5,000, 424 shapes of it took 144 MB more, and 204 of a BERT-base
1,400 MB; so batches are given few shapes instead."""

OPTIONS = {
    "INFERENCE_PRECISION_HINT": "f32",  # on a CPU with bf16 its default is to compute in that
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # nothing is rounded but what the graph rounds
    "CPU_RUNTIME_CACHE_CAPACITY": CACHED_KERNELS,
    "ENABLE_CPU_PINNING": False,  # the process has other threads
}
"""What OpenVINO is told beside the number of threads."""


class OpenVinoGraph:
    """A graph in OpenVINO, of which `threads` calls run at once, each on `threads_per_batch` threads.

    Calls at once run in threads of OpenVINO's, which share the weights; more calls than `threads` wait for each other.
    As with `OnnxGraph`, a row's floats do not depend on the number of threads.

    A forked process opens the graph anew once it runs it, since OpenVINO's threads stay in its parent.

    Raises EngineError where OpenVINO cannot read the graph.
    """

    def __init__(self, path: Path, threads: int, threads_per_batch: int = 1, max_length: int | None = None) -> None:
        """`max_length` is the longest text, tokens; where None, nothing may be padded."""
        self._compiled = Reopened(partial(_Compiled, path, threads, threads_per_batch, max_length is not None))
        reads_lengths = self._compiled().reads_lengths
        self.padding = Padding(VECTOR, STEP, ROW_BITS, max_length) if max_length and reads_lengths else UNPADDED

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        compiled = self._compiled()
        candidates = int(inputs["top_k"][0]) if "top_k" in inputs else 1
        if candidates:
            return compiled.run(outputs, inputs)
        found = compiled.run(outputs, inputs | {"top_k": inputs["top_k"] + 1})  # of 0 it makes the number it made last
        return {name: values[..., :0] if name.startswith("top_") else values for name, values in found.items()}


class _Compiled:
    """A compiled graph, and what runs it: as many requests as ever ran at once."""

    def __init__(self, path: Path, threads: int, threads_per_batch: int, padded: bool) -> None:
        options = OPTIONS | {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads * threads_per_batch}
        try:
            model = with_fast_products(_core().read_model(str(path)))
            self.reads_lengths = padded and cpu_features().avx512_vnni and with_lengths(model)
            self._model = _core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise EngineError(f"OpenVINO {openvino.__version__} cannot run {path}: {reason}") from error
        self._idle: deque[openvino.InferRequest] = deque()

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        if self.reads_lengths and "lengths" not in inputs:
            rows, length = inputs["input_ids"].shape
            inputs = inputs | {"lengths": np.full(rows, length)}
        request = self._request()
        found = request.infer(inputs, share_outputs=True)
        copied = {name: np.array(found[name]) for name in outputs}
        self._idle.append(request)
        return copied

    def _request(self) -> openvino.InferRequest:
        try:
            return self._idle.pop()
        except IndexError:
            return self._model.create_infer_request()


@cache
def _core() -> "openvino.Core":
    """One for all graphs, to the process's end: each gives Python's signals a stack, which ends with it though another
    may go back to it, and then the next signal ends the process."""
    return openvino.Core()
