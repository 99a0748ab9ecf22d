"""What a file system said when it failed, as one line that names the place and the next step."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from maskedge_batch.errors import InputError, WriteError
from maskedge_batch.storage.locations import Location, Place, locate

__all__ = ["FAILURES", "is_of_the_store", "naming_failed_reads", "naming_failed_writes", "reason"]

FAILURES = (OSError, pa.ArrowException)
"""What reading and writing raise, on every file system."""

_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names"
_REMOTE = {
    r"NO_SUCH_BUCKET|Bucket '.*' not found|HTTP status 404.*HeadBucket": "there is no such bucket: check its name",
    r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|HTTP status 404": "it does not exist: check its name",
    r"ACCESS_DENIED|HTTP status 403|AccessDenied|Forbidden": f"access was denied: {_CREDENTIALS}",
    r"INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|HTTP status 401": (
        f"its owner does not know these credentials: {_CREDENTIALS}"
    ),
    r"NETWORK_CONNECTION|curlCode: [0-9]+": (
        "it could not be reached: check the network, AWS_REGION and, where the store is not Amazon's, AWS_ENDPOINT_URL"
    ),
    r"HTTP status 301|PermanentRedirect": "its bucket lies in another region: name that with AWS_REGION",
    r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|HTTP status 5[0-9][0-9]": (
        "its store answered with errors, also when asked again: try later"
    ),
}
"""What stores say, as patterns, and what is to be said of it."""

_STORE = re.compile(r"AWS Error|google::cloud::Status|Azure|HTTP status [0-9]|curlCode")


def reason(error: Exception) -> str:
    """What went wrong, in part of a line; for what is known of remote stores with the next step."""
    said = str(error)
    for pattern, meaning in _REMOTE.items():
        if re.search(pattern, said):
            return meaning
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # pyarrow's own begins with what it tried, in words of the operating system
    lines = said.strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def is_of_the_store(error: Exception) -> bool:
    """Whether the place failed, rather than what is in it: asked again, it may answer."""
    return isinstance(error, OSError) and (error.errno is not None or bool(_STORE.search(str(error))))


@contextmanager
def naming_failed_reads(place: Place) -> Iterator[None]:
    """Turns a failure to reach or read something into an InputError that names it and the reason."""
    try:
        yield
    except FAILURES as error:
        raise InputError(f"{place} cannot be read: {reason(error)}.") from error


@contextmanager
def naming_failed_writes(final: Place) -> Iterator[None]:
    """Turns a failed write into a WriteError that names the file, the reason and, on a local disk, the room left."""
    try:
        yield
    except FAILURES as error:
        raise WriteError(
            f"{final} could not be written: {reason(error)}{_room(locate(final))}. Make room or name another place "
            "with -o."
        ) from error


def _room(final: Location) -> str:
    if not final.is_local:
        return ""
    directory = Path(final.parent.path)
    try:
        free = shutil.disk_usage(directory).free
    except OSError:  # it is gone
        return ""
    return f" ({free:,} bytes are free in {final.parent})"
