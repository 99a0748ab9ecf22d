"""The file system that a URI's scheme names."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pyarrow import fs

from maskedge_batch.errors import LocationError

__all__ = ["LOCAL", "remote_filesystem"]

LOCAL = fs.LocalFileSystem()

S3_ATTEMPTS = 5
"""How often a request to S3 is made before its failure counts: the waits in between come to a few seconds."""

_ARROW_SCHEMES = {"gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def remote_filesystem(scheme: str, authority: str) -> tuple[fs.FileSystem, str]:
    """A URI's file system, and the path of the URI's root (a bucket, for instance) in it.

    S3 is pyarrow's own and takes region, endpoint and credentials from where AWS's tools take them; so are Google's and
    Azure's stores and HDFS. Any other scheme is fsspec's, where that and its package for the scheme are installed.

    Raises LocationError where there is no such scheme, or what it needs is not there.
    """
    root = f"{scheme}://{authority}"
    if scheme == "s3":
        if not authority:
            raise LocationError("s3:// names no bucket: write s3://BUCKET/KEY.")
        return _s3(authority, _variable(_ENDPOINTS), _variable(_REGIONS)), authority
    try:
        return _arrow(root) if scheme in _ARROW_SCHEMES else _fsspec(scheme, authority)
    except (pa.ArrowException, OSError, ValueError, ImportError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LocationError(f"There is no way to {root} here: {said.rstrip('.')}.") from error


def _variable(names: tuple[str, ...]) -> str | None:
    """An environment variable of AWS's. Credentials are read from there too, by AWS's library: it has no other door."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


@lru_cache
def _s3(bucket: str, endpoint: str | None, region: str | None) -> fs.FileSystem:
    options: dict[str, Any] = {"retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS)}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    elif not region:
        region = _bucket_region(bucket)
    # In the background: then a part that fails is remembered, and the upload cannot be completed without it.
    return fs.S3FileSystem(region=region, background_writes=True, **options)


def _bucket_region(bucket: str) -> str | None:
    resolve: Callable[[str], str] = fs.resolve_s3_region
    try:
        return resolve(bucket)
    except OSError:  # no network, or no such bucket: what is done with it says so
        return None


@lru_cache
def _arrow(root: str) -> tuple[fs.FileSystem, str]:
    filesystem, path = fs.FileSystem.from_uri(f"{root}/")
    return filesystem, path.rstrip("/")


@lru_cache
def _fsspec(scheme: str, authority: str) -> tuple[fs.FileSystem, str]:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(f"{scheme}://{authority}")
    handler: Any = fs.FSSpecHandler  # abstract to its stubs
    return fs.PyFileSystem(handler(filesystem)), path.rstrip("/")
