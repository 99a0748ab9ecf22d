"""Bundles found: in a directory, on the Hugging Face Hub by way of its cache, or in this package.

The Hub's own environment variables are heeded: HF_HOME is the cache's directory; with HF_HUB_OFFLINE=1 only the cache
is used; HF_TOKEN, or a login, opens private repositories; HF_ENDPOINT names another Hub.
"""

import re
from pathlib import Path

from maskedge.bundle.format import DEFAULT_BUNDLE, MANIFEST_NAME, Bundle
from maskedge.errors import BundleError, BundleNotFoundError

__all__ = ["download_bundle", "find_bundle", "looks_like_path"]

HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[\w.-]+", re.ASCII)


def find_bundle(source: str | Path | None, revision: str | None = None) -> Path:
    """The directory of a bundle, which is downloaded if it lies on the Hub.

    A string such as `org/name` is a Hub id unless a file or directory of that name exists, or a directory `org`. A Path
    is never a Hub id.

    Args:
        source: A path or a Hub id; the bundled model where None.
        revision: A branch, tag or commit on the Hub.

    Raises:
        BundleNotFoundError: There is no such path, neither the Hub nor its cache has such a bundle, or huggingface_hub
            is not installed.
        ValueError: A revision was given of what is not on the Hub.
    """
    if isinstance(source, str) and HUB_ID.fullmatch(source) and not Path(source).exists():
        if looks_like_path(source):
            raise BundleNotFoundError(
                f"there is no {source}; it was taken for a path and not for a Hub id, since {Path(source).parent} is a "
                "directory here: correct it, or start elsewhere to load that id from the Hub"
            )
        return download_bundle(source, revision)
    if revision is not None:
        raise ValueError(f"revision {revision!r} belongs to a Hub id such as 'org/name', and {source!r} is none")
    return DEFAULT_BUNDLE if source is None else Path(source)


def looks_like_path(name: str) -> bool:
    """Whether a name, under which nothing lies, was meant as a path (a mistyped `build/bundel`, say), not a Hub id."""
    path = Path(name)
    deep = len(path.parts) > 2 or "\\" in name
    return deep or name.startswith((".", "/", "~")) or (len(path.parts) == 2 and path.parent.is_dir())


def download_bundle(hub_id: str, revision: str | None) -> Path:
    """The directory, in the Hub's cache, with the files that the bundle's manifest lists and no others.

    Raises BundleNotFoundError where the bundle cannot be downloaded, saying why.
    """
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import RemoteEntryNotFoundError
    except ModuleNotFoundError as error:
        raise BundleNotFoundError(
            f"there is no directory {hub_id}; to look for it on the Hub, install huggingface_hub "
            "(pip install huggingface_hub)"
        ) from error
    try:
        snapshot = Path(hf_hub_download(hub_id, MANIFEST_NAME, revision=revision)).parent
        files = list(Bundle.open(snapshot, verify=False).manifest.files)
        # The files are taken from the commit that the manifest came from: the branch may have moved since.
        return Path(snapshot_download(hub_id, revision=snapshot.name, allow_patterns=[MANIFEST_NAME, *files]))
    except RemoteEntryNotFoundError as error:
        raise BundleNotFoundError(
            f"{hub_id} on the Hub is no bundle: it has no {MANIFEST_NAME}; "
            f"if it is a checkpoint, make one with `mlm-export bundle {hub_id} --out DIRECTORY`"
        ) from error
    except BundleError:
        raise
    except Exception as error:  # huggingface_hub's errors and its HTTP client's; which client depends on the version
        raise BundleNotFoundError(
            f"there is no directory {hub_id}, and it could not be loaded from the Hub or its cache: {error}"
        ) from error
