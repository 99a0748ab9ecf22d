"""Who is compared: each contender, what running it takes, and what it offers of a model."""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.environments import BUILD, OURS, ROOT, Environment, NotInstallableError, environment
from harness.processes import ContenderError, ContenderProcess, cores
from peers.contender import Model

__all__ = ["PEERS", "PIPELINE", "REFERENCE", "Entry", "Peer", "ComparedModel", "entries"]

REFERENCE = "transformers, sorted batches, fp32"
"""Says what is right."""
PIPELINE = "transformers, pipeline, fp32"
"""What most use, and the others are so many times faster than."""
SHARED = ("networks.py", "transformers_4.py")
"""Modules of benchmarks/peers that make what others load."""
EXPORTER = (ROOT / "export", ROOT / "runtime")
"""What makes a bundle: more than runs it, and in the interpreter of this program."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A library as a contender: a module of benchmarks/peers."""

    module: str
    label: str
    """As tables call it."""
    packages: tuple[str, ...]
    """What running it needs: its installed size is theirs, with all that they need."""
    environment: str = ""
    """The name of its environment; its own by default."""


PEERS = (
    Peer("transformers", "transformers", ("transformers", "torch")),
    Peer("minicons", "minicons", ("minicons",)),
    Peer("optimum", "Optimum", ("optimum-onnx", "onnxruntime")),
    Peer("onnxruntime", "onnxruntime", ("onnxruntime", "tokenizers"), "optimum"),
    Peer("openvino", "OpenVINO", ("openvino", "tokenizers")),
    Peer("torch_compile", "torch.compile", ("transformers", "torch", "torchao")),
    Peer("ctranslate2", "CTranslate2", ("ctranslate2", "transformers", "torch")),
    Peer("zentorch", "zentorch", ("zentorch", "transformers", "torch", "torchao")),
    Peer(OURS, "maskedge", ("maskedge",)),
)


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """A checkpoint that all contenders run."""

    name: str
    checkpoint: Path
    calibration: Path
    """Sentences that are not measured."""
    bundle: Path | None = None
    """A bundle of it, where there is one already."""

    def digest(self) -> str:
        """SHA-256 of its weights."""
        return sha256(self.checkpoint / "model.safetensors")

    @property
    def mask_token(self) -> str:
        """As texts spell it."""
        return Model.from_json(self.as_json(self.checkpoint)).mask_token

    def as_json(self, directory: Path) -> dict[str, Any]:
        """As a contender is told of it."""
        paths = {"checkpoint": self.checkpoint, "directory": directory, "calibration": self.calibration}
        return {"name": self.name, "threads": cores()} | {name: str(path) for name, path in paths.items()}


@cache
def sha256(path: Path) -> str:
    """Of a large file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the tables: a contender's way to run a model."""

    peer: Peer
    variant: str
    workloads: Sequence[str]
    model: Mapping[str, Any] = field(repr=False)
    environment: Environment = field(repr=False)

    @property
    def name(self) -> str:
        """As tables and figures call it."""
        return f"{self.peer.label}, {self.variant}"

    def start(self) -> ContenderProcess:
        """A process of it, with nothing loaded yet."""
        return ContenderProcess(self.peer.module, self.environment.python, f"{self.model['name']}-{self.name}")

    def load(self, process: ContenderProcess) -> None:
        """Open the model. Raises ContenderError."""
        process.ask("load", model=self.model, variant=self.variant)


def entries(model: ComparedModel, peers: Sequence[Peer], left_out: dict[str, str]) -> Iterator[Entry]:
    """All rows of the tables, made ready; who cannot take part is named in `left_out`, and why."""
    for peer in peers:
        try:
            found = environment(peer.environment or peer.module)
            told = model.as_json(directory_of(model, peer, found))
            yield from offered(peer, found, told, model.bundle)
        except (NotInstallableError, ContenderError) as error:
            left_out[peer.label] = str(error)


def directory_of(model: ComparedModel, peer: Peer, found: Environment) -> Path:
    """Where a contender keeps what it makes of a model, as long as model, versions and its own program stay."""
    folder = ROOT / "benchmarks" / "peers"
    shared = (ROOT / "export").rglob("*.py") if peer.module == OURS else [folder / name for name in SHARED]
    programs = b"".join(path.read_bytes() for path in [folder / f"{peer.module}.py", *sorted(shared)])
    key = hashlib.sha256(f"{model.digest()} {found.digest}".encode() + programs).hexdigest()
    return BUILD / "prepared" / f"{model.name}-{peer.module}-{key[:12]}"


def offered(peer: Peer, found: Environment, told: dict[str, Any], bundle: Path | None) -> Iterator[Entry]:
    """What a contender offers of a model, after it made of the checkpoint what it loads."""
    directory = Path(told["directory"])
    if peer.module == OURS and bundle is not None and not directory.exists():
        directory.mkdir(parents=True)
        (directory / "bundle").symlink_to(bundle.resolve())
    python, sources = (Path(sys.executable), EXPORTER) if peer.module == OURS else (found.python, ())
    ask(peer, python, "prepare", told, sources)
    for variant, workloads in ask(peer, found.python, "variants", told).items():
        yield Entry(peer, variant, workloads, told, found)


def ask(peer: Peer, python: Path, do: str, told: dict[str, Any], sources: tuple[Path, ...] = ()) -> Any:
    """What a process of its own answers, which imports from the sources too."""
    process = ContenderProcess(peer.module, python, f"{told['name']}-{peer.module}-{do}", sources)
    try:
        return process.ask(do, model=told)
    finally:
        process.close()
