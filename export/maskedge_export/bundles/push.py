"""A bundle -> a repository of the Hugging Face Hub, in one commit.

Who is allowed to is huggingface_hub's business: HF_TOKEN or its login, and HF_ENDPOINT for another Hub.
"""

from maskedge.bundle.format import MANIFEST_NAME, Bundle
from maskedge_export.errors import PushError

__all__ = ["push_bundle"]


def push_bundle(
    bundle: Bundle, repo_id: str, *, private: bool = False, revision: str | None = None, message: str | None = None
) -> str:
    """Put the files that the bundle's manifest lists, and no others, into a repository, and return the commit's URL.

    Args:
        bundle: The bundle.
        repo_id: The repository, `user/name` or `organization/name`; made where there is none.
        private: Make a new repository private.
        revision: The branch, made where there is none; the repository's main one by default.
        message: The commit's message.

    Raises BundleCorruptError where a file is not what the manifest says, before anything is sent, and PushError where
    the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    for name in bundle.manifest.files:
        bundle.check(name)
    files = {MANIFEST_NAME: bundle.path / MANIFEST_NAME, **{name: bundle.file(name) for name in bundle.manifest.files}}
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.create_commit(  # upload_folder may take several, and a bundle is of one piece
            repo_id,
            [CommitOperationAdd(name, path) for name, path in files.items()],
            commit_message=message or f"Add the bundle {bundle.manifest.name}",
            revision=revision,
        )
    except Exception as error:  # its own, and those of its HTTP client, which changes with its version
        raise PushError(f"{bundle.path} could not be put on the Hub as {repo_id!r}: {_reason(error)}") from error
    return commit.commit_url


def _reason(error: Exception) -> str:
    """What the Hub said, on one line, with the next step where nobody is logged in."""
    said = " ".join(str(error).split())
    status = getattr(getattr(error, "response", None), "status_code", None)
    advice = "; log in with `hf auth login`, or set HF_TOKEN to a token that may write there"
    return said + (advice if status in (401, 403) else "")
