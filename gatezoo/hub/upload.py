"""Folders to a repository."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

from .errors import CONNECT_TIMEOUT, check_repo, run_with_timeout, translate_errors


def upload(folder: Path, repo: str, message: str, private: bool = False) -> str:
    """Make the repository if need be and commit all files of a folder; returns the 40-hex commit.

    Raises:
        ValueError: no token that may write there, a card that the hub refuses, or no hub.
    """
    check_repo(repo)
    api = HfApi()

    def send() -> str:
        run_with_timeout(CONNECT_TIMEOUT, api.whoami)
        api.create_repo(repo, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).oid

    return translate_errors(send, f"hf-hub:{repo}", None)
