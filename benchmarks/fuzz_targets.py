"""What is fuzzed, for the environment of the fuzzer: benchmarks/fuzzing.py runs it.

    python benchmarks/fuzz_targets.py TARGET DIRECTORY [libFuzzer's options]

DIRECTORY holds a copy of a bundle that the target may write over. An error that is no MaskedgeError ends the run,
and so does a file that is opened outside DIRECTORY.
"""

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["maskedge"]):
    from maskedge import MaskedgeError, Predictor
    from maskedge.bundle import Bundle
    from maskedge.inference.encoding import TextEncoder

MOST = 2 << 30
"""Bytes that the process may take. A graph is a program, which may ask for any amount: it is to be told no, and the
user in an error of maskedge's."""
TEXT = "the [MASK] ."
PRECISION = "fp32"

Target = Callable[[bytes], None]


def manifest(bundle: Path) -> Target:
    """The manifest. Hashes are not compared: whoever makes a bundle makes them too."""

    def attempt(content: bytes) -> None:
        (bundle / "maskedge.json").write_bytes(content)
        predictor = Predictor.load(bundle, precision=PRECISION, engine="onnxruntime", threads=1, verify=False)
        predictor.verify()
        predictor.fill([TEXT])

    return attempt


def graph(bundle: Path) -> Target:
    """A graph's file."""

    def attempt(content: bytes) -> None:
        (bundle / "onnx" / f"{PRECISION}.onnx").write_bytes(content)
        Predictor.load(bundle, precision=PRECISION, engine="onnxruntime", threads=1, verify=False).fill([TEXT])

    return attempt


def tokenizer(bundle: Path) -> Target:
    """The tokenizer's file."""

    def attempt(content: bytes) -> None:
        (bundle / "tokenizer.json").write_bytes(content)
        TextEncoder.of_bundle(Bundle.open(bundle, verify=False)).encode(TEXT)

    return attempt


def text(bundle: Path) -> Target:
    """A text, to fill and to score."""
    predictor = Predictor.load(bundle, precision=PRECISION, engine="onnxruntime", threads=1)

    def attempt(content: bytes) -> None:
        given = content.decode("utf-8", "surrogateescape")
        for ask in (predictor.fill, predictor.score):
            try:
                ask([given])
            except MaskedgeError:
                continue

    return attempt


TARGETS = {each.__name__: each for each in (manifest, graph, tokenizer, text)}


def stay_within(directory: Path) -> Callable[[bool], None]:
    """A switch: while it is on, Python opens no file outside the directory. The libraries' own are not seen."""
    watching = [False]

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching[0] and isinstance(arguments[0], str | Path):
            path = Path(arguments[0]).resolve()
            if not (path.is_relative_to(directory) or path.is_relative_to("/proc")):  # which names this CPU
                watching[0] = False
                raise AssertionError(f"{path} was opened")

    sys.addaudithook(look)
    return lambda on: watching.__setitem__(0, on)


def main() -> None:
    """Fuzz."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST, MOST))
    name, directory = sys.argv[1], Path(sys.argv[2]).resolve()
    target, watch = TARGETS[name](directory), stay_within(directory)

    def attempt(content: bytes) -> None:
        watch(True)
        try:
            target(content)
        except MaskedgeError:
            pass
        finally:
            watch(False)

    atheris.Setup([sys.argv[0], *sys.argv[3:]], attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
