"""Upload folders to a repository of the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.hf_api import RepoFile

from .errors import HubUnreachableError, Upload, check_repo, no_token, translate_errors
from .retry import Budget, retry, run_with_timeout
from .stream import MIN_RATE

# Seconds that a commit may take, beside those of its bytes at the least rate: the client's own retries are shorter.
COMMIT_TIMEOUT = 60.0


def require_token(repo: str) -> None:
    """Check, without a request, that an upload to ``org/name`` is possible at all.

    Raises:
        ValueError: a name of another form, no token, or offline mode.
    """
    check_repo(repo)
    what = f"hf-hub:{repo}"
    if constants.HF_HUB_OFFLINE:
        raise HubUnreachableError(Upload(what, None).unreachable("HF_HUB_OFFLINE is set"))
    if not get_token():
        raise ValueError(no_token(what))


def check_upload(repo: str) -> None:
    """Check, with one request, that the Hub answers and knows the token.

    Raises:
        ValueError: as :func:`require_token` does, an unknown token, or a Hub that does not answer within its budget.
    """
    require_token(repo)
    api = HfApi()
    translate_errors(
        lambda: retry(lambda seconds: run_with_timeout(seconds, api.whoami), Budget()), Upload(f"hf-hub:{repo}", None)
    )


def upload(folder: Path, repo: str, message: str, private: bool = False) -> str:
    """Create the repository if it does not exist, commit all files of a folder and return the 40-hex commit.

    Raises:
        ValueError: no token that may write there, a card that the Hub refuses, or a Hub that is unreachable or too
            slow. The files are committed together or not at all.
    """
    check_upload(repo)
    api = HfApi()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def create(seconds: float) -> object:
        return run_with_timeout(seconds, lambda: api.create_repo(repo, private=private, exist_ok=True))

    def send() -> str:
        retry(create, Budget())
        return run_with_timeout(
            COMMIT_TIMEOUT + size / MIN_RATE,
            lambda: api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).oid,
        )

    return translate_errors(send, Upload(f"hf-hub:{repo}", None))


def stored_digests(repo: str, commit: str) -> dict[str, str]:
    """Return what identifies each file of a commit by its path: sha256 of a large file, git object id of any other.

    Raises:
        ValueError: the Hub refuses or does not answer.
    """
    api = HfApi()

    def call(seconds: float) -> dict[str, str]:
        def list_files() -> dict[str, str]:
            entries = api.list_repo_tree(repo, recursive=True, revision=commit)
            files = [entry for entry in entries if isinstance(entry, RepoFile)]
            return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}

        return run_with_timeout(seconds, list_files)

    return translate_errors(lambda: retry(call, Budget()), Upload(f"hf-hub:{repo}@{commit}", None))
