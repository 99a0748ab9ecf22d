"""The comparison with other libraries: processes that take turns, what is kept of them, and what is made of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.contenders import ComparedModel, Entry, Peer
from harness.environments import Environment
from harness.journal import Journal, Measurement
from harness.processes import ContenderError, ContenderProcess
from harness.race import COLD, Race
from harness.summary import latencies, model_figures, picked, shares_of_fill, times_faster
from harness.workloads import Rows, Workload
from rich.console import Console

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
CHECKPOINT = ROOT / "checkpoints" / "english-minilm"
TEXTS = ("a", "right", "bcd")
SENTENCES = Workload("sentences", "sentences", "fill", TEXTS, 30, 30, 1.0)
PLL = Workload("pll", "pll", "score", TEXTS, 9, 27, 1.0)
ONE = Workload("one", "one", "fill_each", TEXTS, 30, 30, 1.0)
NAMES = [f"stand-in, {variant}" for variant in ("one", "other", "wrong")]


class StandInEntry(Entry):
    """Started with the folder of stand-ins beside that of the contenders."""

    def start(self) -> ContenderProcess:
        return ContenderProcess("stand_in", self.environment.python, f"test-{os.getpid()}", (STAND_INS,))


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the processes."""
    monkeypatch.setattr("harness.processes.BUILD", tmp_path / "build")


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    told = ComparedModel("tiny", CHECKPOINT, tmp_path / "calibration.txt").as_json(tmp_path / "prepared")
    found = Environment(Path(sys.executable), (), "")
    peer = Peer("stand_in", "stand-in", ())
    offered = {"one": ("sentences", "one", "pll", COLD), "other": ("sentences",), "wrong": ("sentences",)}
    return [StandInEntry(peer, variant, workloads, told, found) for variant, workloads in offered.items()]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "measured.jsonl", {"machine": "this"})


@pytest.fixture
def race(entries: list[Entry], journal: Journal) -> Iterator[Race]:
    race = Race("tiny", entries, journal, Console(quiet=True), least_rounds=2)
    yield race
    race.close()


@pytest.fixture
def process(entries: list[Entry]) -> Iterator[ContenderProcess]:
    process = entries[0].start()
    entries[0].load(process)
    yield process
    process.close()


def state(pid: int) -> str:
    """Of a process: T while it is stopped, Z when it has ended and nobody has asked how; empty where there is none."""
    status = Path(f"/proc/{pid}/stat")
    return status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] if status.exists() else ""


def comes_to(pid: int, states: Sequence[str]) -> bool:
    """Whether a process gets into one of the states: signals take a moment."""
    deadline = time.monotonic() + 20
    while state(pid) not in states and time.monotonic() < deadline:
        time.sleep(0.01)
    return state(pid) in states


def test_what_libraries_print_is_no_answer(process: ContenderProcess) -> None:
    assert process.ask("fill", texts=["abc"])["tokens"] == [3]


def test_a_process_that_waits_is_stopped(process: ContenderProcess) -> None:
    process.ask("fill", texts=["abc"])
    assert comes_to(process.process.pid, "T")


def test_a_process_that_waits_ends_with_the_one_that_asks() -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
from harness.processes import ContenderError, ContenderProcess
process = ContenderProcess("stand_in", Path(sys.executable), "ends", (Path({str(STAND_INS)!r}),))
try:
    process.ask("fill", texts=["nothing is loaded"])
except ContenderError:
    print(process.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    pid = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False).stdout)
    assert comes_to(pid, ["", "Z"])


def test_a_contender_that_fails_says_why_and_goes_on(process: ContenderProcess) -> None:
    with pytest.raises(ContenderError, match=r"^ValueError: this cannot be filled$"):
        process.ask("fill", texts=["fail"])
    assert process.ask("score", texts=["abc"])["scores"] == [-4.5]


def test_a_contender_that_is_left_out_says_why_in_its_own_words(entries: list[Entry]) -> None:
    process = entries[0].start()
    with pytest.raises(ContenderError, match=r"^there is no such model$"):
        process.ask("prepare", model={**entries[0].model, "name": "unknown"})
    process.close()


def test_all_take_one_turn_a_round_in_an_order_that_changes(race: Race, journal: Journal) -> None:
    race.run(SENTENCES, 0)
    turns = [(each.round, each.entry) for each in journal.measurements]
    orders = {number: [entry for round_, entry in turns if round_ == number] for number in range(3)}
    assert [number for number, _ in turns] == sorted(number for number, _ in turns)
    assert all(sorted(order) == sorted(NAMES) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) > 1


def test_one_that_dies_leaves_the_others_and_says_how_it_ended(race: Race, journal: Journal) -> None:
    race.run(replace(SENTENCES, texts=("die",)), 0)
    assert {each.failed.partition(";")[0] for each in journal.measurements} == {"its process ended with 3"}
    race.run(replace(SENTENCES, name="more"), 0)
    assert not any(each.failed for each in journal.of("tiny", "more"))


def test_a_run_that_was_killed_goes_on_where_it_was(race: Race, journal: Journal) -> None:
    race.run(SENTENCES, 0)
    whole = journal.path.read_text(encoding="utf-8")
    journal.path.write_text(whole[:-40], encoding="utf-8")  # in the middle of the last measurement
    again = Journal(journal.path, {"machine": "this"})
    assert again.measurements == journal.measurements[:-1]
    replace(race, journal=again).run(SENTENCES, 0)
    assert [(each.round, each.entry) for each in again.measurements] == [
        (each.round, each.entry) for each in journal.measurements
    ]


def test_measurements_of_another_machine_are_put_aside(race: Race, journal: Journal) -> None:
    race.run(SENTENCES, 0)
    whole = journal.path.read_text(encoding="utf-8")
    assert Journal(journal.path, {"machine": "another"}).measurements == []
    assert journal.path.with_name(f"{journal.path.name}.before").read_text(encoding="utf-8") == whole


def test_a_run_of_one_model_keeps_what_was_measured_of_another(tmp_path: Path) -> None:
    path, both = tmp_path / "file", {"machine": "this", "large": 1, "small": 2}
    Journal(path, both).add(Measurement("small", "a", "one", 0, {"seconds": [1.0]}))
    Journal(path, {"machine": "this", "large": 1}).add(Measurement("large", "a", "one", 0, {"seconds": [9.0]}))
    assert [each.model for each in Journal(path, both).measurements] == ["small", "large"]
    assert Journal(path, both | {"small": 3}).measurements == []


def test_what_failed_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "file", {})
    journal.add(Measurement("tiny", "a", "one", 0, failed="no memory"))
    journal.add(Measurement("tiny", "b", "one", 0, {"seconds": [1.0]}))
    assert [each.entry for each in Journal(tmp_path / "file", {}).measurements] == ["b"]


def test_where_memory_is_short_processes_end_and_warm_up_again(
    race: Race, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = ContenderProcess.ask

    def noting(process: ContenderProcess, do: str, **more: Any) -> Any:
        asked.append(do)
        return ask(process, do, **more)

    monkeypatch.setattr(ContenderProcess, "ask", noting)
    monkeypatch.setattr("harness.race.memory_free", lambda: 0)
    race.run(SENTENCES, 0)
    assert len(race.processes) == 1
    assert len(journal.measurements) == 9
    assert asked.count("fill") == 9 + asked.count("load") - 3  # what is started after the first round warms up


def test_whom_a_run_measured_is_known_to_the_next_which_runs_others(journal: Journal) -> None:
    journal.add(Measurement("tiny", "minicons, fp32", "pll", 1, {"seconds": 3.0}))
    after = Journal(journal.path, {"machine": "this"})
    assert [after.knows(label) for label in ("minicons", "mini", "Optimum")] == [True, False, False]


def test_a_cold_start_lasts_until_the_first_answer(race: Race, journal: Journal) -> None:
    race.run_cold("a")
    found = journal.of("tiny", COLD)
    assert [each.entry for each in found] == [NAMES[0]] * 2
    assert all(0.005 < each.found["seconds"] < 60 for each in found)
    assert race.processes == {}


def measured(entry: str, number: int, **found: Any) -> Measurement:
    return Measurement("tiny", entry, "sentences", number, {"peak_bytes": 2e6, **found})


def test_figures_are_medians_without_the_round_that_warms_up(journal: Journal) -> None:
    reference = "transformers, sorted batches, fp32"
    for number, seconds in enumerate([9.0, 1.0, 2.0, 4.0]):
        journal.add(measured(reference, number, seconds=seconds, tokens=[1, 2, 3]))
        journal.add(measured("other", number, seconds=seconds / 2, tokens=[1, 2, 4]))
    figures = model_figures(journal, "tiny", Rows((SENTENCES,), "a"))
    assert list(figures["entries"]) == ["other", reference]  # the fastest first
    other = figures["entries"]["other"]["sentences"]
    assert other["rows_per_second"] == 3 / 1.0
    assert other["tokens_per_second"] == 30 / 1.0
    assert other["range_of_rows_per_second"] == [3 / 2.0, 3 / 0.5]
    assert other["same_best_token"] == 2 / 3
    assert figures["entries"]["other"]["peak_megabytes"] == 2.0


def test_scores_are_compared_with_those_of_transformers(journal: Journal) -> None:
    for entry, scores in (("transformers, sorted batches, fp32", [-1.0, -2.0]), ("other", [-1.5, -1.5])):
        for number in range(2):
            journal.add(Measurement("tiny", entry, "pll", number, {"seconds": 3.0, "scores": scores}))
    row = model_figures(journal, "tiny", Rows((PLL,), "a"))["entries"]["other"]["pll"]
    assert (row["mean_difference"], row["tokens_per_second"], row["read_tokens_per_second"]) == (0.5, 3.0, 9.0)


def test_the_99th_percentile_is_a_time_that_was_measured() -> None:
    times = [milliseconds / 1e3 for milliseconds in range(1, 201)]
    found = latencies([{"seconds": times[:100]}, {"seconds": times[100:]}])
    assert found["p99_milliseconds"] == pytest.approx(198)
    assert found["median_milliseconds"] == pytest.approx(100.5)


def test_ratios_take_the_best_of_either_side() -> None:
    row = {"sentences": {"read_tokens_per_second": 30.0}}
    entries = {
        "maskedge, int8": {"sentences": {"read_tokens_per_second": 300.0}, "pll": {"read_tokens_per_second": 240.0}},
        "maskedge, int8, Predictor(list)": {"sentences": {"read_tokens_per_second": 270.0}},
        "maskedge, fp32": row,
        "transformers, pipeline, fp32": row,
        "OpenVINO, int8": {"sentences": {"read_tokens_per_second": 200.0}},
        "minicons, fp32": {"pll": {"read_tokens_per_second": 24.0}},
    }
    assert times_faster(entries) == {
        "sentences, the pipeline": 10.0,
        "sentences, the fastest peer": 1.5,
        "pseudo-log-likelihood, minicons": 10.0,
        "pseudo-log-likelihood, the fastest peer": 10.0,
    }
    assert picked(entries) == {"default": "maskedge, int8", "fastest_peer": "OpenVINO, int8"}
    assert shares_of_fill(entries) == {"maskedge, int8, PLL": 0.8, "maskedge, int8, Predictor(list)": 0.9}


def test_a_journal_is_readable_json_a_line(race: Race, journal: Journal) -> None:
    race.run(ONE, 0)
    first, *lines = [json.loads(line) for line in journal.path.read_text(encoding="utf-8").splitlines()]
    assert first == {"machine": "this"}
    assert [len(line["found"]["seconds"]) for line in lines] == [3, 3, 3]
