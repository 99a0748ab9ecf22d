"""What the page takes from npm: onnxruntime's WebAssembly build and a tokenizer, of fixed versions and known hashes."""

import json
import shutil
import subprocess
import tarfile
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path
from tempfile import TemporaryDirectory

from maskedge.errors import PageError

__all__ = ["ONNXRUNTIME", "PACKAGES", "TOKENIZERS", "NpmPackage", "fetch"]

SECONDS = 600
"""How long npm may take to download 33 MB."""


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One package, and what the page takes of it."""

    name: str
    version: str
    integrity: str
    """Its archive's SHA-512 as base64: what npm's lock files call integrity."""
    license: str
    files: tuple[str, ...]
    """Paths within the package."""

    @property
    def spec(self) -> str:
        """What npm calls it."""
        return f"{self.name}@{self.version}"


ONNXRUNTIME = NpmPackage(
    name="onnxruntime-web",
    version="1.30.0",
    integrity="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    license="MIT",
    files=("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)
TOKENIZERS = NpmPackage(
    name="@huggingface/tokenizers",
    version="0.2.0",
    integrity="LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
    license="Apache-2.0",
    files=("dist/tokenizers.min.mjs",),
)
PACKAGES = (ONNXRUNTIME, TOKENIZERS)


def fetch(package: NpmPackage) -> list[bytes]:
    """The contents of the package's files, in the order of `files`.

    npm keeps what it has fetched, so that only the first page needs a network. Nothing of the package is run.

    Raises PageError where npm is missing or cannot fetch the package, or gives another archive than the pinned one.
    """
    with TemporaryDirectory(prefix="maskedge-page-") as directory:
        archive = _download(package, Path(directory))
        if b64encode(sha512(archive.read_bytes()).digest()).decode() != package.integrity:
            raise PageError(f"npm gave another {package.spec} than the one that pages are made with: {archive.name}")
        with tarfile.open(archive) as members:
            return [_member(members, f"package/{name}") for name in package.files]


def _download(package: NpmPackage, directory: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise PageError(f"a page is made with npm, which fetches {package.spec}, and npm is not installed: get Node.js")
    options = ["--ignore-scripts", "--prefer-offline", "--json"]
    try:
        ran = subprocess.run(
            [npm, "pack", package.spec, *options], cwd=directory, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PageError(f"npm took more than {SECONDS} s to fetch {package.spec}: try again") from error
    archives = list(directory.glob("*.tgz"))
    if ran.returncode or len(archives) != 1:
        raise PageError(f"npm could not fetch {package.spec}: {_reason(ran.stdout, ran.stderr)}")
    return archives[0]


def _reason(stdout: bytes, stderr: bytes) -> str:
    """What npm complains of, on one line."""
    try:
        return " ".join(str(json.loads(stdout)["error"]["summary"]).split())
    except (ValueError, KeyError, TypeError):
        return " ".join(stderr.decode(errors="replace").split())[-200:] or "it says nothing"


def _member(members: tarfile.TarFile, name: str) -> bytes:
    file = members.extractfile(name)
    if file is None:
        raise PageError(f"npm's package has no file {name}")
    return file.read()
