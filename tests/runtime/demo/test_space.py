"""A Hugging Face Space: its three files, started as a Space would start them."""

import shutil
import socket
import sys
import urllib.request
from pathlib import Path

import gradio
import pytest
from served_pages import serving, shown_bars

ROOT = Path(__file__).parents[3]
SPACE = ROOT / "space"


def front_matter() -> dict[str, str]:
    _, front, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return {name: value for name, _, value in (line.partition(": ") for line in front.splitlines())}


def test_it_asks_for_the_gradio_that_is_tested() -> None:
    front = front_matter()
    assert (front["sdk"], front["sdk_version"], front["app_file"]) == ("gradio", gradio.__version__, "app.py")
    assert len(front["short_description"]) <= 60  # the Hub takes no more
    assert (SPACE / "requirements.txt").read_text() == "maskedge[demo,batch]\n"


@pytest.mark.slow
def test_it_answers_when_it_is_started_as_a_space_starts_it(tmp_path: Path) -> None:
    space = Path(shutil.copytree(SPACE, tmp_path / "space"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": port, "SPACE_ID": "me/maskedge"}
    with serving(tmp_path, [sys.executable, str(space / "app.py")], **environment) as served:
        assert served.url.endswith(f":{port}")
        with urllib.request.urlopen(served.url, timeout=60) as answer:
            assert b"Masked language models on a plain CPU" in answer.read()
        words = {"text": "Paris is the capital of France.", "masked": [3]}
        _, html, *_ = served.ask("fill", words["text"], words, "the bundled one", 3, 0)
        assert len(shown_bars(html)) == 3
        assert [line for line in served.calls.read_text().splitlines() if "127.0.0.1" not in line] == []
        assert served.end() == 0
