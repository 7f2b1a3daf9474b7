"""Upload folders to a repository of the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token

from .errors import HubUnreachableError, Upload, check_repo, no_token, translate_errors
from .retry import Budget, retry, run_with_timeout


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


def upload(folder: Path, repo: str, message: str, private: bool = False) -> str:
    """Create the repository if it does not exist, commit all files of a folder and return the 40-hex commit.

    Raises:
        ValueError: no token that may write there, a card that the Hub refuses, or an unreachable Hub.
    """
    require_token(repo)
    api = HfApi()

    def send() -> str:
        retry(lambda seconds: run_with_timeout(seconds, api.whoami), Budget())
        api.create_repo(repo, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).oid

    return translate_errors(send, Upload(f"hf-hub:{repo}", None))
