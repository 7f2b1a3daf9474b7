"""Upload folders to a repository of the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

from .errors import check_repo, translate_errors
from .retry import CONNECT_TIMEOUT, run_with_timeout


def upload(folder: Path, repo: str, message: str, private: bool = False) -> str:
    """Create the repository if it does not exist, commit all files of a folder and return the 40-hex commit.

    Raises:
        ValueError: no token that may write there, a card that the Hub refuses, or an unreachable Hub.
    """
    check_repo(repo)
    api = HfApi()

    def send() -> str:
        run_with_timeout(CONNECT_TIMEOUT, api.whoami)
        api.create_repo(repo, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).oid

    return translate_errors(send, f"hf-hub:{repo}", None)
