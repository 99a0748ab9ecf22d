"""How scores of several CPUs are compared, and what was found: the right graph on each."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from maskedge.bundle.golden_vectors import tolerance_of

ROOT = Path(__file__).parents[2]
FOUND: Any = json.loads((ROOT / "docs" / "results" / "cpus.json").read_text(encoding="utf-8"))


@pytest.fixture
def other_cpus(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("other_cpus")


def answers(*logprobs: float | None, best: tuple[int, ...] = (1, 2, 3)) -> dict[str, Any]:
    return {"best_tokens": best, "logprobs": logprobs, "same_alone": True, "golden": {"passed": True}}


def test_a_cpu_is_compared_word_by_word(other_cpus: ModuleType) -> None:
    here, there = answers(-1.0, None, -3.0), answers(-1.5, None, -3.0, best=(1, 2, 4))
    found = other_cpus.compared(there, here)
    assert (found["max_difference"], found["mean_difference"]) == (0.5, 0.25)
    assert found["same_best_token"] == pytest.approx(2 / 3)
    assert found["masked_perplexity"] == pytest.approx(2.718281828**2.25)


def test_cpus_of_one_group_agree_to_the_last_bit(other_cpus: ModuleType) -> None:
    one, other = answers(-0.1, None, -0.3), answers(-0.1, None, -0.30000000000000004)
    found = other_cpus.groups_of_same_bits({"here": one, "arm": other, "other arm": other, "x86": one})
    assert found == [["here", "x86"], ["arm", "other arm"]]


@pytest.mark.parametrize("cpu", FOUND["cpus"])
def test_the_graph_chosen_for_a_cpu_is_right_there(cpu: str, other_cpus: ModuleType) -> None:
    assert other_cpus.passes(FOUND, cpu)
    assert all(graph["cpus"][cpu]["same_alone"] for graph in FOUND["graphs"].values())


@pytest.mark.parametrize("precision", FOUND["graphs"])
def test_the_tolerance_lies_between_rounding_and_saturation(precision: str) -> None:
    """With room to either side."""
    for name, cpu in FOUND["graphs"][precision]["cpus"].items():
        difference = cpu["golden"]["max_logprob_difference"]
        if (precision, name) == ("int8", "haswell"):
            assert difference > 1.4 * tolerance_of(precision)
        else:
            assert difference < tolerance_of(precision) / 1.4
