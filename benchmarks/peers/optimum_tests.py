"""Optimum's own tests of masked language models, run on maskedge's standard graphs. For Optimum's environment:

    python benchmarks/peers/optimum_tests.py OPTIMUM_ONNX_CLONE '{"bert": ["checkpoint", "bundle"]}'

Where their tests export a model of the Hub, they find a bundle of a small model of the same family. Prints what came of
each test as JSON.
"""

import importlib
import json
import re
import sys
import unittest
from pathlib import Path
from typing import Any

CASE = "ORTModelForMaskedLMIntegrationTest"
UNREACHABLE = ("OSError", "ConnectionError", "LocalEntryNotFoundError", "cached snapshot folder")
"""What is said where the Hub cannot be reached."""
OF_A_FAMILY = re.compile(r"(.+?)_\d+_(.+)")
"""The name of a test that is there once for each family."""


def main() -> None:
    """Run them, and print what came of each."""
    clone, made = Path(sys.argv[1]), json.loads(sys.argv[2])
    sys.modules["datasets"] = None  # type: ignore[assignment]  # is not needed, and asks for another huggingface_hub
    sys.path.insert(0, str(clone / "tests" / "onnxruntime"))
    theirs: Any = importlib.import_module("test_modeling")
    case = getattr(theirs, CASE)
    theirs.MODEL_NAMES.update({family: checkpoint for family, (checkpoint, _) in made.items()})
    case.onnx_model_dirs = {family: bundle for family, (_, bundle) in made.items()}
    print(json.dumps([outcome(case, name, made) for name in unittest.TestLoader().getTestCaseNames(case)]))


def outcome(case: Any, name: str, made: dict[str, Any]) -> dict[str, str]:
    """What came of a test."""
    of_family = OF_A_FAMILY.fullmatch(name)
    test, family = of_family.groups() if of_family else (name, "")
    found = {"test": test, "family": family, "outcome": "passed", "why": ""}
    if getattr(getattr(case, name), "__unittest_skip__", False):
        return found | {"outcome": "not run", "why": getattr(case, name).__unittest_skip_why__}
    if family and family not in {re.sub(r"\W", "_", each) for each in made}:
        return found | {"outcome": "not run", "why": "no standard graph of that family"}
    result = unittest.TestResult()
    case(name).run(result)
    if problems := result.errors + result.failures:
        unreachable = any(sign in problems[0][1] for sign in UNREACHABLE)
        why = "needs the Hub" if unreachable else problems[0][1].strip().splitlines()[-1]
        return found | {"outcome": "not run" if unreachable else "failed", "why": why}
    return found


if __name__ == "__main__":
    main()
