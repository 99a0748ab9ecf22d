"""What runs the graph of a job: chosen by name, told of in what was written, and part of what makes it this job."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from maskedge_batch import InputError, make_comparison
from maskedge_batch.cli.app import app
from maskedge_batch.errors import OutputError, StoppedError
from maskedge_batch.runs import facts
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.model import choose_model
from maskedge_batch.runs.stopping import StopRequest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("openvino")]

WriteInput = Callable[..., Path]


def provenance(scored: Path, key: bytes = b"maskedge") -> dict[str, Any]:
    said: dict[str, Any] = json.loads((pq.read_schema(scored).metadata or {})[key])
    return said


@pytest.fixture
def job(write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]) -> Job:
    return Job(write_input(sentences[:60]), model=bundle, shard_rows=20, runtime="openvino")


def run(command: str, *arguments: object) -> None:
    result = CliRunner().invoke(app, [command, *map(str, arguments)])
    assert result.exit_code == 0, result.output


def test_scores_tell_what_ran_the_graph(job: Job) -> None:
    outcome = score_file(job)
    assert provenance(outcome.output)["runtime"] == outcome.report.provenance.runtime == "openvino"
    assert outcome.report.run is not None
    assert outcome.report.run.versions["openvino"] == version("openvino")
    assert "onnxruntime" not in outcome.report.run.versions
    assert "- runtime: openvino" in outcome.markdown.read_text(encoding="utf-8")


def test_every_command_that_asks_a_model_takes_one(write_input: WriteInput, bundle: Path, tmp_path: Path) -> None:
    texts = write_input({"text": ["a [MASK]", "the waters"], "sentence_good": ["the", "a"], "sentence_bad": ["a", "a"]})
    model = ("--model", bundle, "--runtime", "openvino")
    run("score", texts, *model)
    run("pairs", texts, *model)
    run("heads", texts, "-o", tmp_path / "heads", *model)
    assert provenance(tmp_path / "sentences.scored.parquet")["runtime"] == "openvino"
    assert provenance(tmp_path / "sentences.pairs.parquet", b"maskedge_pairs")["runtime"] == "openvino"
    for report in ("sentences.pairs.json", "heads/heads.json"):
        assert json.loads((tmp_path / report).read_text())["run"]["versions"]["openvino"] == version("openvino")


def test_a_run_is_gone_on_with_by_the_same_runtime_only(job: Job) -> None:
    undisturbed = score_file(replace(job, output=f"{job.input}.undisturbed.parquet")).output
    stop = StopRequest()
    with pytest.raises(StoppedError):
        score_file(job, lambda done, total: stop.ask() if done >= 40 else None, stop)
    with pytest.raises(OutputError, match=r"another job \(the runtime was openvino and is onnxruntime"):
        score_file(replace(job, runtime="onnxruntime"))
    assert pq.read_table(score_file(job).output).equals(pq.read_table(undisturbed))


def test_scores_of_two_runtimes_are_compared_by_name_and_not_taken_for_one_job(job: Job) -> None:
    first = score_file(replace(job, output=f"{job.input}.onnxruntime.scored.parquet", runtime="onnxruntime")).output
    second = score_file(replace(job, output=f"{job.input}.openvino.scored.parquet")).output
    compared = make_comparison([first], [second])
    assert [compared.a.name, compared.b.name] == ["tiny onnxruntime", "tiny openvino"]
    with pytest.raises(InputError, match="runtime: onnxruntime and openvino"):
        make_comparison([first, second], [second])


def test_auto_is_settled_before_a_cluster_is_asked(bundle: Path) -> None:
    """So that every worker runs the same."""
    assert choose_model(bundle).runtime in ("onnxruntime", "openvino")
    assert choose_model(bundle, runtime="openvino").runtime == "openvino"


def test_a_machine_without_the_runtime_is_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts.environment("openvino")["openvino"] == version("openvino")

    def missing(package: str) -> str:
        if package == "openvino":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(facts, "version", missing)
    assert facts.environment("openvino")["openvino"] == "not installed"
    assert "openvino" not in facts.environment("onnxruntime")
