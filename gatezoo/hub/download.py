"""Download files of a repository, or take them from the cache."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.utils import WeakFileLock

from .cache import (
    ETAG,
    MAX_SMALL_FILE,
    cache_folder,
    cached,
    delete_cached,
    link_blob,
    matches_digest,
    matches_etag,
    repo_folder,
    store_ref,
)
from .errors import HubDownload, HubError, HubUnreachableError, check_repo, translate_errors
from .retry import Budget
from .stream import COMMIT_HEADER, download_file, request_headers

COMMIT = re.compile(r"[0-9a-f]{40}")
# Only these are downloaded: never a pickle, even if a repository holds one.
ALLOWED_SUFFIXES = (".safetensors", ".json", ".md")
# Seconds to wait for another process that downloads the same file, before it is downloaded twice.
LOCK_TIMEOUT = 60.0

_log = logging.getLogger("gatezoo")


class FileMetadata(NamedTuple):
    """What the Hub says about a file."""

    commit: str
    etag: str
    size: int


def resolve(repo: str, revision: str | None = None, cache_dir: str | os.PathLike | None = None) -> str:
    """Return the commit of a branch or tag (default: main), with one request; a commit needs none.

    If the Hub is unreachable, the commit that the cache last saw of the branch is returned, and the log warns.

    Raises:
        ValueError: no such repository or revision, or neither the Hub nor the cache knows it.
    """
    check_repo(repo)
    revision = revision or constants.DEFAULT_REVISION
    if not re.fullmatch(r"[\w./-]+", revision) or ".." in revision:
        raise ValueError(f"a revision must be a branch, a tag or a commit; got {revision!r}: give one of these")
    if COMMIT.fullmatch(revision):
        return revision
    path = cached(repo, revision, "config.json", cache_dir)
    cached_commit = path.parent.name if path else None
    budget = Budget()

    def call() -> str:
        metadata = _file_metadata(repo, revision, "config.json", budget)
        if metadata.commit != cached_commit:
            if cached(repo, metadata.commit, "config.json", cache_dir) is None:
                _download(repo, "config.json", metadata, cache_dir, budget, force=False)
            store_ref(repo_folder(repo, cache_dir), revision, metadata.commit)
        return metadata.commit

    try:
        return translate_errors(call, HubDownload(f"hf-hub:{repo}@{revision}/config.json", cache_dir))
    except HubUnreachableError as error:
        if cached_commit is None:
            raise
        _log.warning("%s of %s is taken from the cache, as of commit %s: %s", revision, repo, cached_commit, error)
        return cached_commit


def fetch(
    repo: str,
    commit: str,
    file: str,
    cache_dir: str | os.PathLike | None = None,
    force_download: bool = False,
    size: int | None = None,
    sha256: str | None = None,
) -> Path:
    """Return a local file of a pinned commit: the cached one, else downloaded.

    Args:
        force_download: download it even if it is cached, and replace the cached file.
        size: of the file in bytes, if known: a file of another size is refused before it is downloaded.
        sha256: of the file, if known, likewise.

    Raises:
        ValueError: the Hub has no such file or refuses it, cannot be reached, or the cache cannot be written; or the
            bytes do not match the digest that the Hub gives.
    """
    check_repo(repo)
    if not file.endswith(ALLOWED_SUFFIXES) or not re.fullmatch(r"[\w.-]+", file):
        raise ValueError(
            f"only {', '.join(ALLOWED_SUFFIXES)} files are fetched from a hub; got {file!r}: a pickle can run code"
        )
    path = None if force_download else cached(repo, commit, file, cache_dir)
    if path and matches_etag(path):
        return path
    budget = Budget()

    def call() -> Path:
        if path:
            delete_cached(path)  # damaged, so that nobody else should read it either
        metadata = _file_metadata(repo, commit, file, budget, size, sha256)
        if metadata.commit != commit:
            raise HubError(f"{repo} must be at commit {commit}; the hub gives {metadata.commit}: check HF_ENDPOINT")
        return _download(repo, file, metadata, cache_dir, budget, force=force_download)

    return translate_errors(call, HubDownload(f"hf-hub:{repo}@{commit}/{file}", cache_dir))


def _file_metadata(
    repo: str, revision: str, file: str, budget: Budget, size: int | None = None, sha256: str | None = None
) -> FileMetadata:
    """Request commit, ETag and size of a file, and check them before anything is downloaded."""
    what = f"hf-hub:{repo}@{revision}/{file}"
    headers = request_headers(hf_hub_url(repo, file, revision=revision), budget)
    commit = headers.get(COMMIT_HEADER) or ""
    if not COMMIT.fullmatch(commit):
        raise HubError(f"{constants.ENDPOINT} must be a hub; it gives no commit of {repo}: check HF_ENDPOINT")
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    if not ETAG.fullmatch(etag):
        raise HubError(f"the ETag of {what} must be 40 or 64 hex digits; got {etag[:80]!r}: it is not downloaded")
    length = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    if not re.fullmatch("[0-9]{1,15}", length):
        raise HubError(f"the hub must give the length of {what}; got {length[:80]!r}: it is not downloaded")
    metadata = FileMetadata(commit, etag, int(length))
    if size is not None and metadata.size != size:
        raise HubError(f"{what} must have {size} bytes; the hub has {metadata.size}: it is not downloaded")
    if not file.endswith(".safetensors") and metadata.size > MAX_SMALL_FILE:
        raise HubError(
            f"{what} must have at most {MAX_SMALL_FILE} bytes; the hub has {metadata.size}: it is not downloaded"
        )
    if sha256 and len(etag) == 64 and etag != sha256:
        raise HubError(f"{what} must have sha256 {sha256}; the hub has {etag}: it is not downloaded")
    return metadata


def _download(
    repo: str, file: str, metadata: FileMetadata, cache_dir: str | os.PathLike | None, budget: Budget, force: bool
) -> Path:
    """Download a file to the cache, in the layout of the Hub's own client; one process at a time."""
    folder = repo_folder(repo, cache_dir)
    blob = folder / "blobs" / metadata.etag
    lock = cache_folder(cache_dir) / ".locks" / folder.name / f"{metadata.etag}.lock"
    for path in (blob, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Two downloads at once are a waste, and no harm.
        with budget.paused(), contextlib.suppress(TimeoutError):
            stack.enter_context(WeakFileLock(lock, timeout=LOCK_TIMEOUT))
        if force or not (blob.is_file() and matches_digest(blob, metadata.etag)):
            url = hf_hub_url(repo, file, revision=metadata.commit)
            what = f"hf-hub:{repo}@{metadata.commit}/{file}"
            download_file(url, blob, what, metadata.size, metadata.etag, budget)
        return link_blob(folder, metadata.etag, metadata.commit, file)
