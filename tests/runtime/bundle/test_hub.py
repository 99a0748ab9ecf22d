"""Bundles from the Hub: huggingface_hub's real client, in a process of its own, against a stand-in for the Hub."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maskedge import BundleCorruptError, BundleNotFoundError, Predictor
from maskedge.bundle.hub import find_bundle

pytestmark = pytest.mark.slow

pytest.importorskip("huggingface_hub")

BUNDLE = Path(__file__).parents[2] / "tiny_bundle"
SCRIPT = """
import sys
from maskedge import Predictor, pipeline
from maskedge.errors import MaskedgeError
revision = sys.argv[2] or None
try:
    predictor = Predictor.load(sys.argv[1], revision=revision)
except MaskedgeError as error:
    sys.exit(f"{type(error).__name__}: {error}")
called = pipeline("fill-mask", model=sys.argv[1], revision=revision)
print(predictor.bundle.path, predictor("the [MASK]")[0]["token_str"], called("the [MASK]")[0]["token_str"])
"""


@dataclass
class Hub:
    """Repositories by name and revision, as a server on this machine answers for them."""

    endpoint: str = ""
    home: Path = Path()
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut_short: str | None = None
    """A file whose download breaks off."""

    def load(self, hub_id: str, revision: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """A new process that loads a bundle, with the cache that this Hub's processes share."""
        inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        own = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, hub_id, revision],
            env={**inherited, **own, "HF_HUB_DISABLE_XET": "1", **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def files(self, hub_id: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and the files of a branch, tag or commit."""
        for name, files in self.repositories.get(hub_id, {}).items():
            commit = sha1(f"{hub_id} {name}".encode()).hexdigest()
            if revision in (name, commit):
                return commit, files
        return None


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.hub.requests.append(path)
        if path.startswith("api/models/"):
            self.answer_api(path.removeprefix("api/models/").split("/"))
        elif path.count("/") >= 4:
            self.answer_file(*path.split("/", 4), with_body=with_body)
        else:
            self.missing("RepoNotFound")

    def answer_api(self, parts: list[str]) -> None:
        found = self.hub.files("/".join(parts[:2]), parts[3] if len(parts) > 3 else "main")
        if found is None:
            return self.missing(
                "RepoNotFound" if "/".join(parts[:2]) not in self.hub.repositories else "RevisionNotFound"
            )
        commit, files = found
        if parts[2:3] == ["tree"]:
            entry = {"type": "file", "oid": "0" * 40}
            content: object = [{**entry, "path": name, "size": len(body)} for name, body in files.items()]
        else:
            content = {
                "id": "/".join(parts[:2]),
                "sha": commit,
                "siblings": [{"rfilename": name} for name in files],
            }
        return self.send(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer_file(self, owner: str, name: str, _: str, revision: str, file: str, *, with_body: bool) -> None:
        found = self.hub.files(f"{owner}/{name}", revision)
        if found is None:
            return self.missing("RevisionNotFound" if f"{owner}/{name}" in self.hub.repositories else "RepoNotFound")
        commit, files = found
        if file not in files:
            return self.missing("EntryNotFound", {"X-Repo-Commit": commit})
        body = files[file]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(body).hexdigest()}"'}
        return self.send(body, headers, with_body=with_body, cut_short=file == self.hub.cut_short)

    def send(self, body: bytes, headers: dict[str, str], *, with_body: bool = True, cut_short: bool = False) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if cut_short else body)

    def missing(self, code: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(404)
        for name, value in {**(headers or {}), "X-Error-Code": code, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def handler(hub: Hub) -> type[Handler]:
    return type("HandlerOfOneHub", (Handler,), {"hub": hub})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(home=tmp_path / "home")
    hub.home.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    hub.repositories["org/tiny"] = {"main": bundle_files(), "v1": bundle_files()}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


def bundle_files() -> dict[str, bytes]:
    files = {path.relative_to(BUNDLE).as_posix(): path.read_bytes() for path in BUNDLE.rglob("*") if path.is_file()}
    return {**files, "pytorch_model.bin": b"never asked for", ".gitattributes": b""}


def test_a_bundle_is_loaded_from_the_hub_and_then_from_its_cache(hub: Hub) -> None:
    first = hub.load("org/tiny")
    assert first.returncode == 0, first.stderr
    snapshot, *words = first.stdout.split()
    assert Path(snapshot).is_relative_to(hub.home)
    assert (Path(snapshot) / "onnx" / "int8.onnx").is_symlink()
    assert not (Path(snapshot) / "pytorch_model.bin").exists()
    assert not any("pytorch_model" in request for request in hub.requests)
    best = Predictor.load(BUNDLE)("the [MASK]")[0]["token_str"]
    assert words == [best, best]
    hub.requests.clear()
    offline = hub.load("org/tiny", HF_HUB_OFFLINE="1")
    assert offline.stdout == first.stdout, offline.stderr
    assert hub.requests == []


def test_a_cached_bundle_loads_while_the_hub_is_unreachable(hub: Hub) -> None:
    first = hub.load("org/tiny")
    unreachable = hub.load("org/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert unreachable.stdout == first.stdout != "", unreachable.stderr


@pytest.mark.parametrize("revision", ["main", "v1", sha1(b"org/tiny v1").hexdigest()])
def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub, revision: str) -> None:
    loaded = hub.load("org/tiny", revision)
    assert loaded.returncode == 0, loaded.stderr
    name = "main" if revision == "main" else "v1"
    assert sha1(f"org/tiny {name}".encode()).hexdigest() in loaded.stdout


def refused(loaded: subprocess.CompletedProcess[str], error: type[Exception], *parts: str) -> None:
    assert loaded.returncode == 1
    (*_, message) = [line for line in loaded.stderr.splitlines() if line.startswith(error.__name__)] or [loaded.stderr]
    assert message.startswith(error.__name__)
    assert all(part in loaded.stderr for part in parts), loaded.stderr


def test_an_altered_file_is_refused_by_name(hub: Hub) -> None:
    files = hub.repositories["org/tiny"]["main"]
    files["onnx/int8.onnx.data"] = files["onnx/int8.onnx.data"][:-1] + b"\x00"
    refused(hub.load("org/tiny"), BundleCorruptError, "int8.onnx.data was altered")


def test_an_absent_repository_is_named(hub: Hub) -> None:
    refused(hub.load("org/absent"), BundleNotFoundError, "no directory org/absent", "could not be loaded from the Hub")


def test_an_absent_revision_is_named(hub: Hub) -> None:
    refused(hub.load("org/tiny", "v9"), BundleNotFoundError, "org/tiny", "v9")


def test_a_checkpoint_is_told_from_a_bundle(hub: Hub) -> None:
    hub.repositories["org/checkpoint"] = {"main": {"config.json": b"{}", "model.safetensors": b""}}
    refused(hub.load("org/checkpoint"), BundleNotFoundError, "is no bundle", "mlm-export bundle org/checkpoint --out")


def test_a_manifest_that_cannot_be_read_is_named(hub: Hub) -> None:
    hub.repositories["org/tiny"]["main"]["maskedge.json"] = b"{}"
    refused(hub.load("org/tiny"), BundleCorruptError, "maskedge.json")


def test_a_download_that_breaks_off_is_an_error_and_can_be_repeated(hub: Hub) -> None:
    hub.cut_short = "tokenizer.json"
    refused(hub.load("org/tiny"), BundleNotFoundError, "org/tiny")
    hub.cut_short = None
    assert hub.load("org/tiny").returncode == 0


def test_offline_without_the_bundle_in_the_cache(hub: Hub) -> None:
    refused(
        hub.load("org/tiny", HF_HUB_OFFLINE="1"),
        BundleNotFoundError,
        "no directory org/tiny",
        "from the Hub or its cache",
    )
    assert hub.requests == []


def test_without_huggingface_hub_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BundleNotFoundError, match="pip install huggingface_hub"):
        Predictor.load("org/tiny")


def test_a_directory_of_that_name_comes_first(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "tiny").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert Predictor.load("org/tiny").name == "tiny"


@pytest.mark.parametrize("source", [None, "tiny", "./org/tiny", "/org/tiny", "a/b/c", "../tiny", Path("org/tiny")])
def test_what_is_no_hub_id_has_no_revision(source: str | Path | None) -> None:
    with pytest.raises(ValueError, match="'main' belongs to a Hub id"):
        find_bundle(source, "main")


# Links


@pytest.fixture
def link_out(bundle_copy: Path) -> Callable[[Path], None]:
    """Moves the bundle's tokenizer to another place and leaves a link to it."""

    def move(target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        (bundle_copy / "tokenizer.json").rename(target)
        (bundle_copy / "tokenizer.json").symlink_to(target)

    return move


@pytest.mark.parametrize("place", ["tokenizer.json", "blobs/abc", "snapshots/other/tokenizer.json"])
def test_only_a_snapshot_may_link_to_blobs(bundle_copy: Path, link_out: Callable[[Path], None], place: str) -> None:
    link_out(bundle_copy.parent / place)
    with pytest.raises(BundleCorruptError, match="outside the bundle"):
        Predictor.load(bundle_copy)


@pytest.mark.parametrize(("place", "loads"), [("blobs/abc", True), ("other/abc", False), ("blobs2/abc", False)])
def test_a_snapshot_may_link_to_its_own_blobs_only(
    bundle_copy: Path, link_out: Callable[[Path], None], place: str, loads: bool
) -> None:
    repository = bundle_copy.parent / "models--org--tiny"
    link_out(repository / place)
    (repository / "snapshots").mkdir()
    snapshot = bundle_copy.rename(repository / "snapshots" / "abc")
    if loads:
        assert Predictor.load(snapshot).name == "tiny"
    else:
        with pytest.raises(BundleCorruptError, match="outside the bundle"):
            Predictor.load(snapshot)
