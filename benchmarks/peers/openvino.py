"""OpenVINO: fp32, bf16 and NNCF's int8, as the network is and with the head at the mask only.

- https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/high-level-performance-hints.html:
  the hint THROUGHPUT for many rows, LATENCY for one, with as many requests at once as the compiled model names
- https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html: f32 and
  bf16 are asked for; int8 is left the default, in which what is not int8 runs in bf16 where the CPU has it
- https://docs.openvino.ai/2025/notebooks/language-quantize-bert-with-output.html: `nncf.quantize` of a BERT, with
  `model_type=TRANSFORMER` and 300 samples
"""

from collections.abc import Callable
from typing import Any

from peers.batches import Batch, Float32Array, Int64Array, SortedBatches, tokenizer_and_mask
from peers.contender import FILL, Contender, Model, Variants

__all__ = ["load", "prepare", "variants"]

HEAD_AT_MASK = ", head at the mask"
PRECISIONS: dict[str, tuple[str, dict[str, str]]] = {
    "fp32": ("fp32", {"INFERENCE_PRECISION_HINT": "f32"}),
    "bf16": ("fp32", {"INFERENCE_PRECISION_HINT": "bf16"}),
    "int8, NNCF": ("int8", {}),
}
"""The weights' file, and how it is compiled."""
SAMPLES = 300


def prepare(model: Model) -> None:
    """Convert both networks, and quantize them."""
    for suffix in ("", HEAD_AT_MASK):
        if not file_of(model, "int8", suffix).is_file():
            convert(model, suffix)


def file_of(model: Model, weights: str, suffix: str) -> Any:
    """Where a network lies."""
    return model.directory / f"{weights}{'-mask' if suffix else ''}.xml"


def convert(model: Model, suffix: str) -> None:
    """transformers' network -> OpenVINO's, in fp32 and in int8."""
    import nncf
    import openvino

    converted = converted_network(model, suffix)
    openvino.save_model(converted, file_of(model, "fp32", suffix), compress_to_fp16=False)
    samples = nncf.Dataset(calibration_inputs(model, converted))
    quantized = nncf.quantize(converted, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=SAMPLES)
    openvino.save_model(quantized, file_of(model, "int8", suffix), compress_to_fp16=False)


def converted_network(model: Model, suffix: str) -> Any:
    """The network of fp32, which takes any number of rows of any length."""
    import openvino
    from peers.networks import AllLogits, MaskLogits, network, traced_inputs

    inputs = traced_inputs(model)
    if not suffix:
        del inputs["positions"]
    made = (MaskLogits if suffix else AllLogits)(network(model.checkpoint))
    shapes = [(name, [-1] * value.dim(), openvino.Type.i64) for name, value in inputs.items()]
    converted = openvino.convert_model(made, example_input=inputs, input=[(shape, kind) for _, shape, kind in shapes])
    for port, name in zip(converted.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    return converted


def calibration_inputs(model: Model, network: Any) -> list[dict[str, Int64Array]]:
    """Sentences, one a batch, each with its middle token masked."""
    import numpy as np

    (tokenizer, mask), samples = tokenizer_and_mask(model), []
    for encoding in tokenizer.encode_batch(model.calibration_texts(SAMPLES)):
        ids = np.array([encoding.ids[: model.config["max_position_embeddings"]]], np.int64)
        ids[0, ids.shape[1] // 2] = mask
        samples.append(ids)
    names = [port.get_any_name() for port in network.inputs]
    return [{name: given(ids)[name] for name in names} for ids in samples]


def given(ids: Int64Array) -> dict[str, Int64Array]:
    """The inputs of one row with its middle token masked."""
    import numpy as np

    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "positions": np.array([ids.shape[1] // 2])}


def variants(model: Model) -> Variants:
    """Every precision, with each head."""
    return {f"{name}{suffix}": FILL for name in PRECISIONS for suffix in ("", HEAD_AT_MASK)}


def load(model: Model, variant: str) -> Contender:
    """One of them compiled twice, for many rows and for one."""
    suffix = HEAD_AT_MASK if variant.endswith(HEAD_AT_MASK) else ""
    weights, options = PRECISIONS[variant.removesuffix(suffix)]
    return Compiled(model, file_of(model, weights, suffix), options | {"INFERENCE_NUM_THREADS": str(model.threads)})


class Compiled:
    """A network for many rows, and for one."""

    def __init__(self, model: Model, file: Any, options: dict[str, str]) -> None:
        import openvino

        self.model, self.core, self.options = model, openvino.Core(), options
        self.network = self.core.read_model(file)
        self.hinted: dict[str, SortedBatches] = {}

    def fill(self, texts: list[str]) -> list[int]:
        """The best token at the mask of each text."""
        return self.batches("THROUGHPUT" if len(texts) > 1 else "LATENCY").fill(texts)

    def score(self, texts: list[str]) -> list[float]:
        """The pseudo-log-likelihood of each text: of many copies, also where it is one text."""
        return self.batches("THROUGHPUT").score(texts)

    def batches(self, hint: str) -> SortedBatches:
        """The network compiled with a hint, when it is first asked for."""
        if hint not in self.hinted:
            compiled = self.core.compile_model(self.network, "CPU", self.options | {"PERFORMANCE_HINT": hint})
            requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            self.hinted[hint] = SortedBatches(self.model, logits_of(compiled), at_once=requests)
        return self.hinted[hint]


def logits_of(compiled: Any) -> Callable[[Batch], Float32Array]:
    """The logits at the masks; each thread has an inference request of its own."""
    import threading

    import numpy as np

    requests, names = threading.local(), [port.get_any_name() for port in compiled.inputs]

    def logits(batch: Batch) -> Float32Array:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        inputs = {name: getattr(batch, name) for name in names}
        found: Float32Array = requests.own.infer(inputs, share_inputs=True)[0]
        return found if found.ndim == 2 else found[np.arange(len(batch.positions)), batch.positions]

    return logits
