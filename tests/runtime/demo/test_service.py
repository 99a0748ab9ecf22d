"""The demo's server as visitors and strangers meet it: right answers, limits, nothing left, no call to anywhere."""

import json
import random
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served_pages import Served, shown_bars

from maskedge import Predictor
from maskedge.demo.limits import MAX_BODY, MAX_CHARS, MAX_FILE
from maskedge.demo.views import percent

pytestmark = pytest.mark.slow

WORDS = ["the", "water", "from", "every", "child", "flows", "through", "six", "Lands", "bread", "."]


def question(seed: int) -> tuple[str, int]:
    """A sentence of a visitor's, and the number of the word that is masked."""
    chance = random.Random(seed)
    words = chance.choices(WORDS, k=chance.randint(2, 20))
    return " ".join(words), chance.randrange(len(words))


def test_fifty_visitors_at_once_are_all_answered_rightly(served: Served, tiny: Predictor) -> None:
    questions = [question(seed) for seed in range(50)]

    def ask(asked: tuple[str, int]) -> list[tuple[str, str]]:
        text, masked = asked
        _, html, *_ = served.ask("fill", text, {"text": text, "masked": [masked]}, "tiny", 4, 0)
        return shown_bars(html)

    with ThreadPoolExecutor(len(questions)) as visitors:
        found = list(visitors.map(ask, questions))
    for (text, masked), bars in zip(questions, found, strict=True):
        words = text.split()
        words[masked] = "[MASK]"
        (fill,) = tiny.fill([" ".join(words)], top_k=4)
        expected = [(each.token_str, percent(each.score)) for each in fill.masks[0].predictions]
        assert bars == expected, text


def refused(ask: Callable[[], Any]) -> tuple[int, str]:
    """The code and the line that a request is answered with."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask()
    return caught.value.code, str(json.load(caught.value)["detail"])


def test_a_text_of_ten_megabytes_is_refused_in_a_line(served: Served) -> None:
    code, line = refused(lambda: served.ask("score", "a " * 5_000_000, "tiny"))
    assert (code, line) == (413, f"A request may have {MAX_BODY >> 10} KB at most.")


def test_a_text_that_is_somewhat_too_long_is_refused_on_the_page(served: Served) -> None:
    assert f"at most {MAX_CHARS:,} characters" in served.ask("score", "a" * (MAX_CHARS + 1), "tiny")
    assert "pseudo-perplexity" in served.ask("score", "a " * (MAX_CHARS // 2), "tiny")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("fill", [None, None, None, None, None]),
        ("fill", [7, {"text": ["x"], "masked": {"a": 1}, "model": 3}, ["tiny"], "many", {}]),
        ("fill", ["the \ud800 flows", {"text": "the \ud800 flows", "masked": [0, 10**9, -1]}, "tiny", 10**30, -5]),
        ("example", [10**9, "x", None]),
        ("influence", [{"text": "the water", "masked": [1]}, "tiny", "x"]),
        ("attention", [{"text": "the water", "masked": [1]}, "tiny", 99, -3, "third"]),
        ("score", [["a"], "no such model"]),
    ],
)
def test_whatever_a_stranger_sends_is_answered(served: Served, name: str, values: list[Any]) -> None:
    assert served.ask(name, *values) is not None


@pytest.mark.parametrize(("name", "count", "code"), [("fill", 4, 422), ("__init__", 0, 404), ("score", 0, 422)])
def test_a_question_that_there_is_not_is_refused_in_a_line(served: Served, name: str, count: int, code: int) -> None:
    assert refused(lambda: served.ask(name, *[""] * count))[0] == code


def test_another_site_s_page_cannot_ask(served: Served) -> None:
    body = json.dumps(["the water", "tiny"]).encode()
    code, _ = refused(lambda: served.post("/ask/score", body, **{"Content-Type": "text/plain"}))
    assert code == 422


def upload(served: Served, content: bytes, name: str = "lines.txt") -> str:
    """A file brought to the server. Returns its path there."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + b"\r\n--x--\r\n"
    (path,) = served.post("/gradio_api/upload", body, **{"Content-Type": "multipart/form-data; boundary=x"})
    return str(path)


def test_a_big_file_is_refused_in_a_line(served: Served) -> None:
    before = served.visitors_files
    code, line = refused(lambda: upload(served, b"x" * (2 * MAX_FILE)))
    assert (code, line) == (413, "A file may have 5 MB at most.")
    assert served.visitors_files == before


def test_a_request_that_does_not_say_how_long_it_is_is_refused(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST /ask/score HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 411 ")


def test_lines_come_back_scored_and_nothing_but_the_results_is_kept(served: Served, tiny: Predictor) -> None:
    text = "the water flows from the sea .\nevery child"
    before = set(served.visitors_files)
    path = upload(served, text.encode())
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    html, results, *_ = served.ask_in_queue("score_file", file, "", "text", "tiny")
    assert "2 of 2" in html
    assert not Path(path).exists()
    kept = {Path(each["path"]) for each in results["value"]}
    assert set(served.visitors_files) - before == kept
    assert {path.name for path in kept} == {"lines.scored.parquet", "lines.report.html"}
    with urllib.request.urlopen(next(each["url"] for each in results["value"]), timeout=60) as answer:
        import pyarrow.parquet

        (found,) = [path for path in kept if path.suffix == ".parquet"]
        assert answer.read() == found.read_bytes()
        column = pyarrow.parquet.read_table(found)["mlm_pll"].to_pylist()
    assert column == pytest.approx([score.pll for score in tiny.score(text.splitlines())], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.parquet", b"PAR1 no such thing", "bad.parquet is not a complete Parquet file"),
        ("latin.txt", b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_in_a_line_and_removed(
    served: Served, name: str, content: bytes, said: str
) -> None:
    path = upload(served, content, name)
    html, *_ = served.ask_in_queue(
        "score_file", {"path": path, "meta": {"_type": "gradio.FileData"}}, "", "text", "tiny"
    )
    assert said in html
    assert "Traceback" not in html
    assert str(served.folder) not in html
    assert not Path(path).exists()


def test_a_signal_ends_it_cleanly_and_no_visitor_s_file_is_left(serve: Callable[..., Served], bundle: Path) -> None:
    served = serve("--model", bundle)
    upload(served, b"the water")
    served.ask_in_queue("score_file", None, "the water\nthe sea", "text", "tiny")
    assert served.visitors_files
    assert served.end(signal.SIGTERM) == 0  # and SIGINT in the test of the Space
    assert list(served.folder.glob("mlm-demo-*")) == []
    assert (served.folder.parent / "errors.log").read_text().splitlines() == ["Ended."]


def test_nothing_calls_or_looks_up_another_machine(served: Served) -> None:
    with urllib.request.urlopen(served.url, timeout=60) as answer:
        assert b"maskedge" in answer.read()
    served.ask_in_queue("score_file", None, "the water", "text", "tiny")
    elsewhere = [line for line in served.calls.read_text().splitlines() if "127.0.0.1" not in line]
    assert elsewhere == []


def test_a_port_that_is_taken_is_named_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [sys.executable, "-m", "maskedge", "demo", "--port", port], capture_output=True, text=True, timeout=60
        )
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert f"port {port}" in ran.stderr
