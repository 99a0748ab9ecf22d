"""The tests of transformers' fill-mask pipeline and of Optimum's masked language models, run against maskedge; and
minicons' scores beside maskedge's.

    git clone --depth 1 https://github.com/huggingface/transformers build/transformers
    git clone --depth 1 https://github.com/huggingface/optimum-onnx build/optimum-onnx
    .venv/bin/python benchmarks/peer_tests.py --transformers build/transformers --optimum build/optimum-onnx \\
        --out docs/results/peer_tests.json

Their files are loaded as they are. In transformers' tests/pipelines/test_pipelines_fill_mask.py, FillMaskPipeline and
pipeline make an fp32 bundle of the model they are given and open it, and PipelineException is maskedge's TextError. In
Optimum's tests/onnxruntime/test_modeling.py the graphs are a bundle's standard ones. The tests that take any model are
run on a small one of each family, with random weights; those that name a checkpoint of the Hub are run where it can be
reached. minicons has no tests: it scores the example sentences with those small models, and so does maskedge.
"""

import contextlib
import hashlib
import importlib
import json
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import transformers
import transformers.testing_utils
import typer
from harness.environments import environment
from peers.contender import LeftOutError, Model
from peers.transformers_4 import readable_checkpoint

from maskedge import Predictor, SentenceScore, TextError
from maskedge.inference.scoring import Method
from maskedge_export import ExportError, ExportOptions, export_bundle

ROOT = Path(__file__).parents[1]
PIPELINE = Path("tests", "pipelines", "test_pipelines_fill_mask.py")
SENTENCES = ROOT / "examples" / "sentences.txt"
SCORED = 20
"""Sentences that minicons and maskedge both score: the shortest, which fit into small models."""
METHODS: tuple[Method, ...] = ("original", "within_word_l2r")
MODELING = Path("tests", "onnxruntime", "test_modeling.py")
OF_ANY_MODEL = (
    "run_test_top_k",
    "run_test_targets",
    "run_test_top_k_targets",
    "fill_mask_with_duplicate_targets_and_top_k",
    "fill_mask_with_multiple_masks",
)
"""Methods that take a model and its tokenizer."""
WHOLE = "run_pipeline_test"
"""Takes a pipeline: shapes, errors, and then all of those."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a test."""

    test: str
    family: str
    """Of the model; empty where the test names a checkpoint."""
    outcome: str
    """`passed`, `failed`, or `not run`."""
    why: str = ""


class Bundled:
    """A bundle in the pipeline's place."""

    def __init__(self, predictor: Predictor, model: Any, tokenizer: Any) -> None:
        self.predictor, self.model, self.tokenizer = predictor, model, tokenizer

    def __call__(self, inputs: object, **arguments: Any) -> Any:
        """As the pipeline answers."""
        return self.predictor(inputs, **arguments)


def main(
    clone: Annotated[Path | None, typer.Option("--transformers", help="A clone of its repository.")] = None,
    optimum: Annotated[Path | None, typer.Option(help="A clone of optimum-onnx.")] = None,
    minicons: Annotated[bool, typer.Option(help="Compare scores with minicons'.")] = True,
    family: Annotated[list[str] | None, typer.Option(help="Of those that the tests know; all by default.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/peer_tests.json"),
) -> None:
    """Run them, and write what came of each."""
    sys.path.insert(0, str(ROOT / "tests" / "tiny"))
    from tiny_families import GENERIC, NATIVE

    families = family or sorted(NATIVE | GENERIC)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if clone:
            figures["transformers"] = of_peer(clone / PIPELINE, of_pipeline(clone, Path(scratch), families))
        if optimum:
            figures["optimum-onnx"] = of_peer(optimum / MODELING, of_graphs(optimum, Path(scratch), families))
        if minicons:
            figures["minicons"] = of_scores(Path(scratch), families)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, found in figures.items():
        for each in found["outcomes"]:
            print(name, *map(str, filter(None, each.values())), sep=": ")


def of_peer(file: Path, outcomes: list[Outcome]) -> dict[str, Any]:
    """A peer's figures."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"file": file.name, "sha256": digest, "outcomes": [asdict(each) for each in outcomes]}


def of_pipeline(clone: Path, scratch: Path, families: Sequence[str]) -> list[Outcome]:
    """What came of the pipeline's tests."""
    from tiny_families import make_model, make_tokenizer

    sys.path.insert(0, str(clone.resolve()))
    theirs = loaded(Bundles(scratch))
    outcomes = [named(theirs, name) for name in hub_tests(theirs)]
    for family in families:
        outcomes += of_family(theirs, family, make_model(family), make_tokenizer(family))
    return outcomes


def of_graphs(clone: Path, scratch: Path, families: Sequence[str]) -> list[Outcome]:
    """What came of the tests of masked language models, on the standard graphs of those families that have any."""
    made = {}
    for family in families:
        with contextlib.suppress(ExportError, LeftOutError):
            made[family] = [str(each) for each in standard_bundle(family, scratch / f"{family}-standard")]
    python = environment("optimum").python
    program = ROOT / "benchmarks" / "peers" / "optimum_tests.py"
    # -P: beside the program lies a module that is called onnxruntime.
    command = [str(python), "-P", str(program), str(clone.resolve()), json.dumps(made)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [Outcome(**each) for each in json.loads(told.stdout.splitlines()[-1])]


def of_scores(scratch: Path, families: Sequence[str]) -> dict[str, Any]:
    """How far minicons' scores and maskedge's lie apart."""
    made: dict[str, tuple[Path, Path]] = {}
    for family in families:
        with contextlib.suppress(ExportError, LeftOutError):
            made[family] = bundle_and_readable(family, scratch / f"{family}-scored", ExportOptions("fp32"))
    texts = sorted(SENTENCES.read_text(encoding="utf-8").splitlines(), key=len)[:SCORED]
    asked = {"checkpoints": {family: str(checkpoint) for family, (checkpoint, _) in made.items()}, "texts": texts}
    program = ROOT / "benchmarks" / "peers" / "minicons_scores.py"
    command = [str(environment("minicons").python), "-P", str(program), json.dumps(asked)]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    outcomes = [
        {"family": family, **compared(told[family], Predictor.load(bundle), texts)}
        for family, (_, bundle) in made.items()
    ]
    return {"sentences": len(texts), "outcomes": outcomes}


def compared(theirs: dict[str, Any], predictor: Predictor, texts: list[str]) -> dict[str, Any]:
    """The largest difference of a sentence's score by each method, nats; or why minicons gives none."""
    if "error" in theirs:
        return theirs
    return {method: furthest(predictor.score(texts, method=method), theirs[method]) for method in METHODS}


def furthest(scores: Sequence[SentenceScore], others: Sequence[float]) -> float:
    """The largest difference, nats."""
    return max(abs(score.pll - other) for score, other in zip(scores, others, strict=True))


def standard_bundle(family: str, directory: Path) -> tuple[Path, Path]:
    """As `bundle_and_readable`, with standard graphs. Raises ExportError where there are none of that family."""
    return bundle_and_readable(family, directory, ExportOptions("fp32", standard=True))


def bundle_and_readable(family: str, directory: Path, options: ExportOptions) -> tuple[Path, Path]:
    """A small checkpoint of a family, as transformers 4 reads it, and its bundle."""
    from tiny_families import save_checkpoint

    checkpoint, bundle = save_checkpoint(family, directory / "checkpoint"), directory / "bundle"
    export_bundle(str(checkpoint), bundle, options)
    say_what_it_reads(checkpoint)
    readable = directory / "transformers-4"
    readable.mkdir()
    return readable_checkpoint(Model(family, checkpoint, readable, checkpoint, threads=1)), bundle


def say_what_it_reads(checkpoint: Path) -> None:
    """A tokenizer of a family without token types gives none, as those on the Hub do."""
    file = checkpoint / "tokenizer_config.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    if "type_vocab_size" not in json.loads((checkpoint / "config.json").read_text(encoding="utf-8")):
        file.write_text(json.dumps(said | {"model_input_names": ["input_ids", "attention_mask"]}), encoding="utf-8")


def loaded(bundles: "Bundles") -> Any:
    """Their tests, with maskedge in the pipeline's place."""
    for home, name, stand_in in (
        (transformers, "TF_MODEL_FOR_MASKED_LM_MAPPING", None),  # what older files import of TensorFlow
        (transformers.testing_utils, "require_tf", unittest.skip("needs TensorFlow")),
    ):
        if not hasattr(home, name):
            setattr(home, name, stand_in)
    theirs: Any = importlib.import_module(".".join(PIPELINE.with_suffix("").parts))
    theirs.FillMaskPipeline, theirs.pipeline = bundles.of_model, bundles.of_checkpoint
    theirs.PipelineException = TextError
    return theirs


class Bundles:
    """Bundles of models, each made once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made: dict[int, tuple[Any, Path]] = {}

    def of_model(self, model: Any, tokenizer: Any, **defaults: Any) -> Bundled:
        """In FillMaskPipeline's place."""
        if id(model) not in self.made:
            place = self.directory / f"model-{len(self.made)}"
            model.save_pretrained(place / "checkpoint")
            tokenizer.save_pretrained(place / "checkpoint")
            export_bundle(str(place / "checkpoint"), place / "bundle", ExportOptions("fp32"))
            self.made[id(model)] = model, place / "bundle"  # kept, so that no other model has its id
        return Bundled(Predictor.load(self.made[id(model)][1]).with_defaults(**defaults), model, tokenizer)

    def of_checkpoint(self, task: str, model: str, framework: str = "pt", **defaults: Any) -> Bundled:
        """In pipeline's place."""
        found = transformers.AutoModelForMaskedLM.from_pretrained(model)
        return self.of_model(found, transformers.AutoTokenizer.from_pretrained(model), **defaults)


def hub_tests(theirs: Any) -> list[str]:
    """The tests that name their checkpoint."""
    return list(unittest.TestLoader().getTestCaseNames(theirs.FillMaskPipelineTests))


def named(theirs: Any, name: str) -> Outcome:
    """One of those, run as unittest runs it."""
    result = unittest.TestResult()
    theirs.FillMaskPipelineTests(name).run(result)
    if result.skipped:
        return Outcome(name, "", "not run", result.skipped[0][1])
    if problems := result.errors + result.failures:
        why = "needs the Hub" if "OSError" in problems[0][1] else problems[0][1].strip().splitlines()[-1]
        return Outcome(name, "", "not run" if why == "needs the Hub" else "failed", why)
    return Outcome(name, "", "passed")


def of_family(theirs: Any, family: str, model: Any, tokenizer: Any) -> Iterator[Outcome]:
    """Those that take any model."""
    case = theirs.FillMaskPipelineTests()
    for name in OF_ANY_MODEL:
        yield attempt(name, family, lambda name=name: getattr(case, name)(model, tokenizer))
    yield attempt(WHOLE, family, lambda: case.run_pipeline_test(theirs.FillMaskPipeline(model, tokenizer), []))


def attempt(name: str, family: str, act: Any) -> Outcome:
    """What comes of it."""
    try:
        act()
    except Exception as error:  # a test may end in anything
        return Outcome(name, family, "failed", f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    return Outcome(name, family, "passed")


if __name__ == "__main__":
    typer.run(main)
