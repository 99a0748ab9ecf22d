"""Where a bundle lies: a directory, the Hugging Face Hub's cache, or this package.

The Hub's own conventions hold: HF_HOME says where the cache is, HF_HUB_OFFLINE=1 that only the cache is used, HF_TOKEN
or a login opens private repositories, HF_ENDPOINT names another Hub.
"""

import re
from pathlib import Path

from maskedge.bundle.format import DEFAULT_BUNDLE, MANIFEST_NAME, Bundle
from maskedge.errors import BundleError, BundleNotFoundError

__all__ = ["download_bundle", "find_bundle", "looks_like_path"]

HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[\w.-]+", re.ASCII)


def find_bundle(source: str | Path | None, revision: str | None = None) -> Path:
    """The directory of a bundle, downloaded where `source` is a Hub id; the bundled model's where it is None.

    A string such as `org/name` is a Hub id unless a file or directory of that name exists, or a directory `org`; a Path
    never is. `revision` is a branch, tag or commit on the Hub. Raises BundleNotFoundError where there is no such path,
    the Hub or its cache has no such bundle, or huggingface_hub is not installed, and ValueError for a revision of what
    is not on the Hub.
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
    """Whether somebody who names what does not exist meant a path, such as a mistyped `build/bundel`, and no Hub id."""
    path = Path(name)
    deep = len(path.parts) > 2 or "\\" in name
    return deep or name.startswith((".", "/", "~")) or (len(path.parts) == 2 and path.parent.is_dir())


def download_bundle(hub_id: str, revision: str | None) -> Path:
    """The bundle's snapshot in the cache: the files that its manifest lists, and no other file of the repository."""
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
        # the manifest's own commit: the branch may have moved since
        return Path(snapshot_download(hub_id, revision=snapshot.name, allow_patterns=[MANIFEST_NAME, *files]))
    except RemoteEntryNotFoundError as error:
        raise BundleNotFoundError(
            f"{hub_id} on the Hub is no bundle: it has no {MANIFEST_NAME}; "
            f"if it is a checkpoint, make one with `mlm-export bundle {hub_id} --out DIRECTORY`"
        ) from error
    except BundleError:
        raise
    except Exception as error:  # its own, and those of its HTTP client, which changes with its version
        raise BundleNotFoundError(
            f"there is no directory {hub_id}, and it could not be loaded from the Hub or its cache: {error}"
        ) from error
