"""Download files of a repository, or take them from the cache."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path

from huggingface_hub import HfFileMetadata, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from .cache import MAX_SMALL_FILE, cache_folder, cached, delete_cached, matches_etag
from .errors import HTTPError, HubUnreachableError, check_repo, status_of, translate_errors
from .retry import CONNECT_TIMEOUT, RETRY_DELAYS, TOTAL_TIMEOUT, retry_delay, run_with_timeout

COMMIT = re.compile(r"[0-9a-f]{40}")
# Only these are downloaded: never a pickle, even if a repository holds one.
ALLOWED_SUFFIXES = (".safetensors", ".json", ".md")

_log = logging.getLogger("gatezoo")


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
    try:
        commit = fetch_metadata(repo, revision, "config.json", cache_dir).commit_hash
        assert commit is not None
    except HubUnreachableError as error:
        if cached_commit is None:
            raise
        _log.warning("%s of %s is taken from the cache, as of commit %s: %s", revision, repo, cached_commit, error)
        return cached_commit
    if commit != cached_commit:
        # Let the cache record the branch's new commit.
        _download(repo, revision, "config.json", cache_dir)
    return commit


def fetch(
    repo: str,
    commit: str,
    file: str,
    cache_dir: str | os.PathLike | None = None,
    force_download: bool = False,
    size: int | None = None,
) -> Path:
    """Return a local file of a pinned commit: the cached one, else downloaded.

    Args:
        force_download: download it even if it is cached, and replace the cached file.
        size: of the file in bytes, if known: a file of another size is refused before it is downloaded.

    Raises:
        ValueError: the Hub has no such file or refuses it, cannot be reached, or the cache cannot be written; or the
            bytes of a small file do not match its digest, even when downloaded again.
    """
    check_repo(repo)
    if not file.endswith(ALLOWED_SUFFIXES) or not re.fullmatch(r"[\w.-]+", file):
        raise ValueError(
            f"only {', '.join(ALLOWED_SUFFIXES)} files are fetched from a hub; got {file!r}: a pickle can run code"
        )
    path = None if force_download else cached(repo, commit, file, cache_dir)
    if path and matches_etag(path):
        return path
    fetch_metadata(repo, commit, file, cache_dir, size)
    fetched = _download(repo, commit, file, cache_dir, force_download=force_download or path is not None)
    if not matches_etag(fetched):
        delete_cached(fetched)
        raise ValueError(f"{file} of {repo} must match the digest that the hub gives; it does not: try again later")
    return fetched


def fetch_metadata(
    repo: str, revision: str, file: str, cache_dir: str | os.PathLike | None, size: int | None = None
) -> HfFileMetadata:
    """Request commit and size of a file, retried within ``TOTAL_TIMEOUT`` seconds, and check both.

    Raises:
        ValueError: the Hub refuses or is unreachable, gives no commit, or a size that is not allowed.
    """
    url = hf_hub_url(repo, file, revision=revision)
    deadline = time.monotonic() + TOTAL_TIMEOUT

    def request() -> HfFileMetadata:
        timeout = min(CONNECT_TIMEOUT, max(deadline - time.monotonic(), 0.1))
        return run_with_timeout(timeout, lambda: get_hf_file_metadata(url, timeout=timeout))

    def retry() -> HfFileMetadata:
        nonlocal deadline
        for default in RETRY_DELAYS:
            try:
                return request()
            except OfflineModeIsEnabled:
                raise
            except (HTTPError, OSError) as error:
                delay = retry_delay(error, default)
                # A wait that the Hub asks for does not count.
                if delay is not None and status_of(error) == 429:
                    deadline += delay
                if delay is None or time.monotonic() + delay > deadline:
                    raise
                time.sleep(delay)
        return request()

    what = f"hf-hub:{repo}@{revision}/{file}"
    metadata = translate_errors(retry, what, cache_dir)
    if not COMMIT.fullmatch(metadata.commit_hash or ""):
        raise ValueError(f"{constants.ENDPOINT} must be a hub; it gives no commit of {repo}: check HF_ENDPOINT")
    if size is not None and metadata.size != size:
        raise ValueError(f"{what} must have {size} bytes; the hub has {metadata.size}: it is not downloaded")
    if not file.endswith(".safetensors") and (metadata.size or 0) > MAX_SMALL_FILE:
        raise ValueError(
            f"{what} must have at most {MAX_SMALL_FILE} bytes; the hub has {metadata.size}: it is not downloaded"
        )
    return metadata


def _download(
    repo: str, revision: str, file: str, cache_dir: str | os.PathLike | None, force_download: bool = False
) -> Path:
    """Download with a few attempts: the Hub's client gives up on the first 5xx of a body."""
    folder = cache_folder(cache_dir)

    def request() -> Path:
        if force_download:
            path = cached(repo, revision, file, cache_dir)
            if path and not path.is_symlink():
                # Without symbolic links the client would keep the existing copy.
                path.unlink()
        return Path(hf_hub_download(repo, file, revision=revision, cache_dir=folder, force_download=force_download))

    def retry() -> Path:
        for default in (*RETRY_DELAYS, 2 * RETRY_DELAYS[-1]):
            try:
                return request()
            except HfHubHTTPError as error:
                delay = retry_delay(error, default)
                if delay is None:
                    raise
                time.sleep(delay)
        return request()

    return translate_errors(retry, f"hf-hub:{repo}@{revision}/{file}", cache_dir)
