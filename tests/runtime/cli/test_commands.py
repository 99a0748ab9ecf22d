"""`mlm` as a user and as a script meet it: real processes, their output, their exit codes."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from maskedge import Predictor

pytestmark = pytest.mark.slow

RunMlm = Callable[..., "subprocess.CompletedProcess[str]"]
Parse = Callable[[str], list[dict[str, Any]]]


def test_fill_shows_the_candidates_and_says_nothing_else(run_mlm: RunMlm, predictor: Predictor) -> None:
    ran = run_mlm("fill", "the [MASK] water", "--precision", "fp32", "--top-k", "3")
    assert (ran.returncode, ran.stderr) == (0, "")
    (fill,) = predictor.fill(["the [MASK] water"], top_k=3)
    rows = [line.split() for line in ran.stdout.splitlines() if line.endswith("%")]
    expected = fill.masks[0].predictions
    assert [(row[1], int(row[2])) for row in rows] == [(p.token_str, p.token) for p in expected]
    assert [row[-1] for row in rows] == [f"{p.score:.2%}" for p in expected]
    assert f"entropy {fill.masks[0].entropy:.2f} nats" in ran.stdout


def test_a_bar_is_as_long_as_its_probability(run_mlm: RunMlm) -> None:
    ran = run_mlm("fill", "the [MASK] water", "--top-k", "5")
    lengths = [line.count("█") + 0.5 * any(part in line for part in "▏▎▍▌▋▊▉") for line in rows_of(ran.stdout)]
    shares = [float(line.split()[-1].rstrip("%")) / 100 for line in rows_of(ran.stdout)]
    assert lengths == pytest.approx([30 * share for share in shares], abs=0.6)


def rows_of(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.endswith("%")]


def test_json_is_what_the_library_returns(run_mlm: RunMlm, parse: Parse, predictor: Predictor) -> None:
    text = "the [MASK] of <mask>"
    ran = run_mlm("fill", text, "--json", "--precision", "fp32", "-k", "2")
    (answer,) = parse(ran.stdout)
    (fill,) = predictor.fill([text], top_k=2)
    assert (answer["status"], answer["text"]) == ("ok", text)
    assert [mask["position"] for mask in answer["masks"]] == [mask.position for mask in fill.masks]
    found = [[(p["token"], p["token_str"], p["score"]) for p in mask["predictions"]] for mask in answer["masks"]]
    assert found == [[(p.token, p.token_str, p.score) for p in mask.predictions] for mask in fill.masks]


def test_each_line_of_standard_input_has_its_line_of_json(run_mlm: RunMlm, parse: Parse) -> None:
    ran = run_mlm("fill", "-", "--json", stdin=b"the [MASK].\nno mask\n\n\xff [MASK]\r\nwater <mask>")
    statuses = [answer["status"] for answer in parse(ran.stdout)]
    assert statuses == ["ok", "no_mask", "empty_text", "invalid_unicode", "ok"]
    assert parse(ran.stdout)[4]["text"] == "water <mask>"
    assert ran.returncode == 1
    messages = ran.stderr.splitlines()
    assert [message.partition(":")[2][:7] for message in messages] == [" text 2", " text 3", " text 4"]


def test_a_line_is_answered_before_the_next_is_written(mlm_command: list[str], bundle: Path) -> None:
    command = [*mlm_command, "fill", "-", "--json", "--model", str(bundle)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("the [MASK].", "a [MASK] of water."):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert text in process.stdout.readline()
        process.stdin.close()
        assert process.wait(20) == 0


def test_a_closed_standard_input_holds_no_text(mlm_command: list[str], bundle: Path) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *mlm_command, "fill", "-", "--model", str(bundle)]
    ran = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_score_adds_up(run_mlm: RunMlm, parse: Parse, predictor: Predictor) -> None:
    ran = run_mlm("score", "the water", "water of the sea.", "--json", "--precision", "fp32")
    scores = predictor.score(["the water", "water of the sea."])
    assert [answer["pll"] for answer in parse(ran.stdout)] == [score.pll for score in scores]
    table = run_mlm("score", "the water", "water of the sea.", "--precision", "fp32").stdout.splitlines()
    pll, tokens = sum(score.pll for score in scores), sum(score.token_count for score in scores)
    assert table[-1].split()[-3:] == [str(tokens), f"{pll:,.2f}", f"{math.exp(-pll / tokens):,.2f}"]


@pytest.mark.parametrize("method", ["original", "within_word_l2r", "whole_word"])
def test_score_takes_a_method(run_mlm: RunMlm, parse: Parse, predictor: Predictor, method: Any) -> None:
    text = "unbelievable waterfalls"
    ran = run_mlm("score", text, "--method", method, "--json", "--precision", "fp32")
    (expected,) = predictor.score([text], method=method)
    assert parse(ran.stdout)[0]["pll"] == expected.pll


def test_info_names_the_model_and_its_proofs(run_mlm: RunMlm, parse: Parse, predictor: Predictor) -> None:
    ran = run_mlm("info")
    assert ran.returncode == 0
    for shown in (predictor.name, predictor.fingerprint, "int8", "fp32", "[MASK]"):
        assert shown in ran.stdout
    (description,) = parse(run_mlm("info", "--json").stdout)
    assert description["fingerprint"] == predictor.fingerprint
    assert description["size"] == sum(
        path.stat().st_size
        for path in predictor.bundle.path.rglob("*")
        if path.is_file() and path.name != "maskedge.json"
    )
    assert sum(graph["size"] for graph in description["graphs"]) < description["size"]


def test_verify_replays_every_graph(run_mlm: RunMlm, parse: Parse) -> None:
    ran = run_mlm("verify", "--json")
    found = parse(ran.stdout)
    assert {graph["precision"] for graph in found} == {"int8", "fp32"}
    assert all(graph["vectors"] > 0 for graph in found)
    # the tiny bundle's int8 graph may saturate on this CPU, and must then fail
    assert ran.returncode == (0 if all(graph["passed"] for graph in found) else 1)
    assert run_mlm("verify", "--precision", "fp32").stdout.count("passed") == 1


def test_verify_fails_where_the_golden_vectors_are_others(run_mlm: RunMlm, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = copy / "maskedge.json"
    fields = json.loads(manifest.read_text())
    fields["graphs"]["fp32"]["golden"][0]["top_logprobs"][0][0] -= 1
    manifest.write_text(json.dumps(fields))
    ran = run_mlm("verify", "--model", copy, "--precision", "fp32")
    assert ran.returncode == 1
    assert "failed" in ran.stdout
    assert "1.0e+00 nats" in ran.stdout


@pytest.mark.usefixtures("openvino")
def test_a_runtime_is_named_and_told_of(run_mlm: RunMlm, parse: Parse) -> None:
    chosen = ("--runtime", "openvino", "--json")
    (description,) = parse(run_mlm("info", *chosen).stdout)
    assert description["runtime"] == "openvino"
    assert description["versions"]["openvino"] == version("openvino")
    assert {graph["engine"] for graph in parse(run_mlm("verify", *chosen).stdout)} == {"openvino"}
    texts = ("the [MASK] water", "--precision", "fp32")
    (own,), (other,) = (parse(run_mlm("fill", *texts, *more).stdout) for more in (["--json"], chosen))
    best = [[guess["token"] for guess in found["masks"][0]["predictions"]] for found in (own, other)]
    assert best[0] == best[1]
    assert "openvino" in run_mlm("info", "--runtime", "openvino").stdout


def test_a_runtime_that_is_not_there_says_what_to_install(run_mlm: RunMlm, tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('no library')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = run_mlm("score", "the water", "--runtime", "openvino", PYTHONPATH=path)
    assert (ran.returncode, ran.stdout) == (2, "")
    message = "the engine openvino cannot be used (no library): pip install 'maskedge[openvino]'"
    assert ran.stderr.splitlines() == [f"Error: {message}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fill", "no mask here"], "Error: No mask_token ([MASK]) found on the input 'no mask here'"),
        (["explain", "no mask here"], "Error: No mask_token ([MASK]) found on the input 'no mask here'; --word masks"),
        (["score", "a [MASK]"], "Error: 'a [MASK]' holds a mask"),
    ],
)
def test_a_text_that_cannot_be_answered_exits_1(run_mlm: RunMlm, arguments: list[str], message: str) -> None:
    ran = run_mlm(*arguments)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(message)
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["fill"],
        ["fill", "a [MASK]", "--top-k", "0"],
        ["fill", "a [MASK]", "--top-k", "1000000"],
        ["fill", "a [MASK]", "--precision", "int4"],
        ["fill", "a [MASK]", "--model", "/no/such/bundle"],
        ["fill", "a [MASK]", "--runtime", "tensorrt"],
        ["--runtime", "onnxruntime", "fill", "a [MASK]"],
        ["score", "a", "--method", "none"],
        ["explain", "the water", "--word", "fire"],
        ["explain", "the [MASK]", "--word", "the"],
        ["explain", "the [MASK]", "--image", "picture.jpeg"],
        ["--top-k", "2", "fill", "a [MASK]"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(run_mlm: RunMlm, arguments: list[str]) -> None:
    ran = run_mlm(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_altered_bundle_exits_1_and_names_the_file(run_mlm: RunMlm, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    weights = copy / "onnx" / "int8.onnx.data"
    content = weights.read_bytes()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    ran = run_mlm("fill", "a [MASK]", "--model", copy)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert str(weights) in ran.stderr


def test_a_closed_pipe_is_no_error_message(mlm_command: list[str], bundle: Path) -> None:
    command = [*mlm_command, "fill", "-", "--json", "--model", str(bundle)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("a [MASK]\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write("a [MASK]\n" * 3)
        process.stdin.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == ""


def test_ctrl_c_ends_a_command_with_130(mlm_command: list[str], bundle: Path) -> None:
    command = [*mlm_command, "fill", "-", "--json", "--model", str(bundle)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("a [MASK]\n")
        process.stdin.flush()
        process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_extra_it_says_which_to_install(package: str) -> None:
    ran = run_without(package, "fill", "a [MASK]")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"mlm needs {package}, which is not installed: pip install 'maskedge[cli]'\n"


def test_without_the_prompts_library_the_prompt_says_so(bundle: Path) -> None:
    ran = run_without("prompt_toolkit", "--model", str(bundle))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "mlm needs prompt_toolkit, which is not installed: pip install 'maskedge[cli]'\n"


def test_without_matplotlib_only_the_picture_is_missing(bundle: Path, tmp_path: Path) -> None:
    arguments = ["explain", "the [MASK]", "--model", str(bundle)]
    assert run_without("matplotlib", *arguments).returncode == 0
    ran = run_without("matplotlib", *arguments, "--image", str(tmp_path / "a.png"))
    assert (ran.returncode, ran.stdout) == (2, "")
    expected = "mlm explain --image needs matplotlib, which is not installed: pip install 'maskedge[viz]'\n"
    assert ran.stderr == expected


def run_without(package: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    script = f"import sys; sys.modules[{package!r}] = None; from maskedge.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_no_command_loads_what_it_does_not_need(bundle: Path) -> None:
    script = (
        "import sys\nfrom maskedge.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n"
        "    print([name for name in ('matplotlib', 'prompt_toolkit', 'torch') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "fill", "a [MASK]", "--model", str(bundle)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"
