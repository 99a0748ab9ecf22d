"""What a checkpoint's safetensors files hold, by their headers: names, types and shapes."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from maskedge_export.errors import CheckpointError, one_line
from maskedge_export.source_files import read_json, real_file

__all__ = ["StoredWeight", "check_stored", "merge_first", "renamings", "stored_weights", "unwrapped"]

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""safetensors' names of the types that a weight may be stored as; all are loaded as fp32."""
LEARNED = frozenset({"weight", "bias", "gamma", "beta"})
"""The last part of the names of what is learned."""
COUNTERS = frozenset({"I64", "BOOL"})
"""Types of what PyTorch's modules keep beside weights, such as positions."""

WRAPPERS = r"(?:(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+"
"""What PyTorch's wrappers (DataParallel, compile, FSDP, activation checkpointing) put into the names of weights."""
WRAPPED = re.compile(rf"(?:^|(?<=\.)){WRAPPERS}")

ADAPTER = re.compile(r"\.(lora_\w+|base_layer|modules_to_save|ia3_\w+|adapters)\.")
"""What PEFT and adapter libraries put into the names of weights that they train beside the model's."""


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One tensor of a safetensors file, of which nothing but the header has been read."""

    file: Path
    name: str
    dtype: str
    """As safetensors calls it: F32, BF16, I8."""
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The last part of its name."""
        return self.name.rsplit(".", 1)[-1]

    def load(self) -> Tensor:
        """The tensor itself."""
        from safetensors import safe_open

        with safe_open(self.file, framework="pt") as content:
            return content.get_tensor(self.name)  # type: ignore[no-any-return]


def stored_weights(path: Path, config: Any) -> dict[str, StoredWeight]:
    """The tensors, by name, of the files that transformers loads from a checkpoint's directory.

    Raises CheckpointError, naming the file, where one is damaged, missing, or a Git LFS pointer.
    """
    found = {}
    for file in _files(path, config):
        with _opened(file) as content:
            for name in content.keys():  # noqa: SIM118  # it is no dict
                tensor = content.get_slice(name)
                found[name] = StoredWeight(file, name, tensor.get_dtype(), tuple(tensor.get_shape()))
    return found


def _opened(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(real_file(file), framework="pt")
    except SafetensorError as error:
        raise CheckpointError(
            f"{file}, {file.stat().st_size} bytes, is no whole safetensors file ({one_line(error)}); copy it again"
        ) from error


def _files(path: Path, config: Any) -> list[Path]:
    """The one file, or the parts that an index names."""
    named = getattr(config, "transformers_weights", None)
    whole = path / (named or "model.safetensors")
    index = path / "model.safetensors.index.json"
    if whole.name.endswith(".index.json"):
        index = whole
    elif whole.is_file():
        return [whole]
    elif not index.is_file():
        raise CheckpointError(f"{path} holds neither {whole.name} nor {index.name}, which transformers loads")
    parts = read_json(index).get("weight_map", {}).values()
    return [index.parent / part for part in sorted(set(parts))]


def check_stored(path: Path, stored: Mapping[str, StoredWeight]) -> None:
    """Raise CheckpointError for weights that are not the model's own: quantized ones, and those of an adapter."""
    if adapter := next(filter(ADAPTER.search, stored), None):
        raise CheckpointError(f"{path} holds an adapter's weights ({adapter}); {merge_first('it')}")
    for weight in stored.values():
        counter = weight.dtype in COUNTERS or weight.name.endswith("_ids")
        if weight.dtype not in FLOATS and not (counter and weight.kind not in LEARNED):
            raise CheckpointError(
                f"{path} holds quantized weights: {weight.name} is stored as {weight.dtype}{_method(path)}; export the "
                "checkpoint that they were quantized from, or write them back with model.dequantize() and "
                "model.save_pretrained(DIR)"
            )


def merge_first(what: str) -> str:
    """What to do with an adapter."""
    return (
        f"merge {what} into its base model first, and export that: "
        "PeftModel.from_pretrained(BASE, ADAPTER).merge_and_unload().save_pretrained(DIR)"
    )


def _method(path: Path) -> str:
    settings = json.loads((path / "config.json").read_text(encoding="utf-8")).get("quantization_config") or {}
    return f" ({settings['quant_method']})" if isinstance(settings, dict) and "quant_method" in settings else ""


def unwrapped(name: str) -> str:
    """A weight's name without what wrappers put into it."""
    return WRAPPED.sub("", name)


def renamings(names: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Patterns, as transformers' `key_mapping` takes them, by which wrappers leave the names, and then the prefix.

    transformers follows a pattern once for each name: one is there as often as a name is wrapped.
    """
    layers = max((len(WRAPPED.findall(name)) for name in names), default=0)
    patterns = {f"(?#{layer}){WRAPPED.pattern}": "" for layer in range(layers)}
    return {**patterns, **({f"^{re.escape(prefix)}": ""} if prefix else {})}
