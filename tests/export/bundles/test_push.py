"""Bundles put on the Hub by huggingface_hub's real client, in processes of their own, and loaded back from there.

The Hub is a server on this machine with the endpoints that the client uses.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from maskedge import Predictor

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).parents[2] / "tiny_bundle"
TOKEN = "hf_of_this_test"
LFS_FROM = 10_000  # bytes
PUSH = """
import json, sys
from pathlib import Path
from maskedge.bundle import Bundle
from maskedge.errors import MaskedgeError
from maskedge_export.bundles.push import push_bundle
try:
    print(push_bundle(Bundle.open(Path(sys.argv[1]), verify=False), sys.argv[2], **json.loads(sys.argv[3])))
except MaskedgeError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
LOAD = """
import sys
from maskedge import Predictor
predictor = Predictor.load(sys.argv[1], revision=sys.argv[2] or None)
print(predictor("the [MASK]")[0]["token_str"], predictor.bundle.path)
"""


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]]
    commits: list[str] = field(default_factory=list)
    """Their messages."""


@dataclass
class Hub:
    """What a server on this machine holds."""

    home: Path
    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    """Files in large-file storage by SHA-256."""
    cards: list[str] = field(default_factory=list)
    """Those that the client asked the Hub to check."""
    refuses: str = ""
    """A part of the path of requests that fail."""

    def python(self, script: str, *arguments: object, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
        return self.run(sys.executable, "-c", script, *arguments, token=token)

    def push(self, bundle: Path, name: str, token: str = TOKEN, **options: Any) -> "subprocess.CompletedProcess[str]":
        return self.python(PUSH, bundle, name, json.dumps(options), token=token)

    def run(self, *command: object, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
        inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        own = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token}
        return subprocess.run(
            list(map(str, command)),
            env={**inherited, **own, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and the files of a branch or commit."""
        repository = self.repositories.get(name)
        for branch, files in (repository.branches if repository else {}).items():
            commit = sha1(f"{branch} {len(repository.commits) if repository else 0}".encode()).hexdigest()
            if revision in (branch, commit):
                return commit, files
        return None


class Endpoints(BaseHTTPRequestHandler):
    """The requests that the client makes, and what they do to the hub; each test's own class has the hub."""

    hub: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, {"error": "Invalid username or password."})
        if self.hub.refuses and self.hub.refuses in self.path:
            return self.send(507, {"error": "The Hub's disk is full"})
        return self.post(self.path.partition("?")[0].strip("/").split("/"), body)

    def post(self, path: list[str], body: bytes) -> None:
        match path:
            case ["api", "repos", "create"]:
                self.create(json.loads(body))
            case ["api", "validate-yaml"]:
                self.hub.cards.append(json.loads(body)["content"])
                self.send(200, {"errors": [], "warnings": []})
            case ["api", "models", owner, name, "branch", branch]:
                self.make_branch(self.hub.repositories[f"{owner}/{name}"].branches, branch)
            case ["api", "models", _, _, "preupload", _]:
                self.sort(json.loads(body)["files"])
            case [_, _, "info", "lfs", "objects", "batch"]:
                self.take_large(json.loads(body)["objects"])
            case ["api", "models", owner, name, "commit", branch]:
                self.commit(self.hub.repositories[f"{owner}/{name}"], branch, body)
            case _:
                self.send(404, {"error": f"no such endpoint: {path}"})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            return self.send(409, {"url": f"{self.hub.endpoint}/{name}", "error": "You already created this repo"})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories[name] = Repository(private, {"main": {".gitattributes": b""}})
        return self.send(200, {"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"})

    def make_branch(self, branches: dict[str, dict[str, bytes]], branch: str) -> None:
        status = 409 if branch in branches else 200
        branches.setdefault(branch, dict(branches["main"]))
        self.send(status, {})

    def sort(self, files: list[dict[str, Any]]) -> None:
        """Which files go to large-file storage."""
        modes = {file["path"]: "lfs" if file["size"] > LFS_FROM else "regular" for file in files}
        sorted_files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
        self.send(200, {"files": sorted_files})

    def take_large(self, objects: list[dict[str, Any]]) -> None:
        """Where each large file is to be put."""
        places = [{"upload": {"href": f"{self.hub.endpoint}/large/{entry['oid']}"}} for entry in objects]
        taken = [{**entry, "actions": place} for entry, place in zip(objects, places, strict=True)]
        self.send(200, {"transfer": "basic", "objects": taken})

    def commit(self, repository: Repository, branch: str, body: bytes) -> None:
        header, *operations = map(json.loads, body.splitlines())
        for operation in operations:
            value = operation["value"]
            large = operation["key"] == "lfsFile"
            content = self.hub.large[value["oid"]] if large else base64.b64decode(value["content"])
            repository.branches[branch][value["path"]] = content
        repository.commits.append(header["value"]["summary"])
        url = f"{self.hub.endpoint}/user/model/commit/{len(repository.commits):040}"
        self.send(200, {"success": True, "commitUrl": url, "commitOid": f"{len(repository.commits):040}"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert sha256(content).hexdigest() == self.path.rsplit("/", 1)[1]
        self.hub.large[sha256(content).hexdigest()] = content
        self.send(200, {})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/").split("/")
        if path[:2] == ["api", "models"]:
            return self.describe("/".join(path[2:4]), path[5] if len(path) > 5 else "main", tree="tree" in path)
        found = self.hub.find("/".join(path[:2]), path[3])
        name = "/".join(path[4:])
        if found is None or name not in found[1]:
            return self.send(404, {}, {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})
        headers = {"X-Repo-Commit": found[0], "ETag": f'"{sha256(found[1][name]).hexdigest()}"'}
        return self.send(200, found[1][name], headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def describe(self, name: str, revision: str, *, tree: bool) -> None:
        found = self.hub.find(name, revision)
        if found is None:
            return self.send(404, {}, {"X-Error-Code": "RepoNotFound"})
        commit, files = found
        entries = [{"type": "file", "oid": "0" * 40, "path": path, "size": len(body)} for path, body in files.items()]
        about = {"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]}
        return self.send(200, entries if tree else about)

    def send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "home")
    hub.home.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Endpoints,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def test_what_was_pushed_is_loaded_by_its_id(hub: Hub) -> None:
    pushed = hub.run(sys.executable, "-m", "maskedge_export", "push", BUNDLE, "user/tiny")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip() == f"{hub.endpoint}/user/model/commit/{1:040}"
    repository = hub.repositories["user/tiny"]
    assert repository.branches["main"] == {**contents(BUNDLE), ".gitattributes": b""}
    assert (repository.commits, repository.private) == (["Add the bundle tiny"], False)
    assert hub.cards == [(BUNDLE / "README.md").read_text()]
    assert hub.large  # some files took the way of large ones
    loaded = hub.python(LOAD, "user/tiny", "")
    assert loaded.returncode == 0, loaded.stderr
    word, snapshot = loaded.stdout.split()
    assert word == Predictor.load(BUNDLE)("the [MASK]")[0]["token_str"]
    assert Path(snapshot).is_relative_to(hub.home)


def test_a_branch_a_message_and_privacy(hub: Hub) -> None:
    pushed = hub.push(BUNDLE, "user/tiny", private=True, revision="v2", message="Second")
    assert pushed.returncode == 0, pushed.stderr
    repository = hub.repositories["user/tiny"]
    assert (repository.private, repository.commits) == (True, ["Second"])
    assert set(repository.branches["main"]) == {".gitattributes"}
    assert hub.push(BUNDLE, "user/tiny", revision="v2").returncode == 0  # a branch that exists is no error
    loaded = hub.python(LOAD, "user/tiny", "v2")
    assert loaded.returncode == 0, loaded.stderr


def test_only_what_the_manifest_lists_is_sent(hub: Hub, bundle_copy: Path) -> None:
    (bundle_copy / "notes.txt").write_text("private")
    assert hub.push(bundle_copy, "user/tiny").returncode == 0
    assert "notes.txt" not in hub.repositories["user/tiny"].branches["main"]


def refused(pushed: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    assert pushed.returncode == 1
    assert len(pushed.stderr.splitlines()) == 1, pushed.stderr
    assert all(part in pushed.stderr for part in parts), pushed.stderr


def test_an_altered_file_is_named_before_anything_is_sent(hub: Hub, bundle_copy: Path) -> None:
    with (bundle_copy / "tokenizer.json").open("a") as file:
        file.write(" ")
    refused(hub.push(bundle_copy, "user/tiny"), "BundleCorruptError", "tokenizer.json was altered")
    assert hub.repositories == {}


def test_a_wrong_token_is_one_line_that_says_what_to_do(hub: Hub) -> None:
    refused(hub.push(BUNDLE, "user/tiny", token="hf_wrong"), "PushError", "'user/tiny'", "HF_TOKEN", "hf auth login")
    assert hub.repositories == {}


@pytest.mark.parametrize("name", ["a/b/c", "user/", "user/na me", ""])
def test_an_impossible_name_is_one_line(hub: Hub, name: str) -> None:
    refused(hub.push(BUNDLE, name), "PushError", repr(name))


def test_a_commit_that_fails_leaves_the_repository_as_it_was(hub: Hub) -> None:
    hub.refuses = "/commit/"
    refused(hub.push(BUNDLE, "user/tiny"), "PushError", "disk is full")
    assert set(hub.repositories["user/tiny"].branches["main"]) == {".gitattributes"}


def test_an_unreachable_hub_is_one_line(hub: Hub) -> None:
    hub.endpoint = "http://127.0.0.1:9"
    refused(hub.push(BUNDLE, "user/tiny"), "PushError", "user/tiny")
