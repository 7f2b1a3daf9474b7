"""Files of a repository, from the cache or the hub."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from pathlib import Path

from huggingface_hub import (
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from .errors import (
    CONNECT_TIMEOUT,
    MAX_SMALL_FILE,
    RETRY_DELAYS,
    TOTAL_TIMEOUT,
    HTTPError,
    HubUnreachableError,
    cache_folder,
    check_repo,
    retry_delay,
    run_with_timeout,
    status_of,
    translate_errors,
)

COMMIT = re.compile(r"[0-9a-f]{40}")
# Nothing else is fetched: no pickle, whatever a repository holds.
FETCHED = (".safetensors", ".json", ".md")

_log = logging.getLogger("gatezoo")


def resolve(repo: str, revision: str | None = None, cache_dir: str | os.PathLike | None = None) -> str:
    """The commit that a branch or tag names (default: main): one request, none for a commit.

    A hub that cannot be reached leaves what the cache last knew of the branch, and the log says so.

    Raises:
        ValueError: no such repository or revision, or neither the hub nor the cache knows it.
    """
    check_repo(repo)
    revision = revision or constants.DEFAULT_REVISION
    if not re.fullmatch(r"[\w./-]+", revision) or ".." in revision:
        raise ValueError(f"a revision is a branch, a tag or a commit; got {revision!r}")
    if COMMIT.fullmatch(revision):
        return revision
    path = try_to_load_from_cache(repo, "config.json", cache_folder(cache_dir), revision)
    known = Path(path).parent.name if isinstance(path, str) else None
    try:
        commit = fetch_metadata(repo, revision, "config.json", cache_dir).commit_hash
    except HubUnreachableError as error:
        if known is None:
            raise
        _log.warning("%s of %s is taken from the cache, as of commit %s: %s", revision, repo, known, error)
        return known
    if commit != known:
        # So the cache learns what the branch stands for.
        _download(repo, revision, "config.json", cache_dir)
    return commit


def cached(repo: str, commit: str, file: str, cache_dir: str | os.PathLike | None = None) -> Path | None:
    """The file of a commit if the cache has it; nothing is asked of the hub."""
    path = try_to_load_from_cache(repo, file, cache_folder(cache_dir), commit)
    return Path(path) if isinstance(path, str) else None


def fetch(
    repo: str,
    commit: str,
    file: str,
    cache_dir: str | os.PathLike | None = None,
    force_download: bool = False,
    size: int | None = None,
) -> Path:
    """A local file of a pinned commit: the cached one, else downloaded.

    Args:
        again: download it whatever the cache has, and put it in its place.
        size: of the file in bytes, if it is known: another one is refused before it is downloaded.

    Raises:
        ValueError: the hub has no such file or will not give it, cannot be reached, or the cache cannot be written;
            or a small file's bytes are not those it is named after, even when downloaded again.
    """
    check_repo(repo)
    if not file.endswith(FETCHED) or not re.fullmatch(r"[\w.-]+", file):
        raise ValueError(f"only {', '.join(FETCHED)} files are fetched from a hub; got {file!r}: a pickle can run code")
    path = None if force_download else cached(repo, commit, file, cache_dir)
    if path and matches_etag(path):
        return path
    fetch_metadata(repo, commit, file, cache_dir, size)
    fetched = _download(repo, commit, file, cache_dir, force_download=force_download or path is not None)
    if not matches_etag(fetched):
        delete_cached(fetched)
        raise ValueError(f"{file} of {repo} arrives with other bytes than the hub tells of: try again later")
    return fetched


def delete_cached(path: Path) -> None:
    """Remove a cached file, its bytes and its name."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def matches_etag(path: Path) -> bool:
    """Whether a small cached file has the digest that the cache names its bytes by; True where it keeps no names."""
    name = path.resolve().name
    if path.stat().st_size > MAX_SMALL_FILE or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
        return True
    data = path.read_bytes()
    # The hub knows a large file by its sha256, any other as git does.
    digest = hashlib.sha256(data) if len(name) == 64 else hashlib.sha1(b"blob %d\0" % len(data) + data)
    return digest.hexdigest() == name


def fetch_metadata(
    repo: str, revision: str, file: str, cache_dir: str | os.PathLike | None, size: int | None = None
) -> HfFileMetadata:
    """Ask for the commit and size of a file, a few times within ``TOTAL_TIMEOUT`` seconds; look whether both can be."""
    url = hf_hub_url(repo, file, revision=revision)
    until = time.monotonic() + TOTAL_TIMEOUT

    def ask() -> HfFileMetadata:
        limit = min(CONNECT_TIMEOUT, max(until - time.monotonic(), 0.1))
        return run_with_timeout(limit, lambda: get_hf_file_metadata(url, timeout=limit))

    def retry() -> HfFileMetadata:
        nonlocal until
        for pause in RETRY_DELAYS:
            try:
                return ask()
            except OfflineModeIsEnabled:
                raise
            except (HTTPError, OSError) as error:
                wait = retry_delay(error, pause)
                if wait is not None and status_of(error) == 429:
                    until += wait
                if wait is None or time.monotonic() + wait > until:
                    raise
                time.sleep(wait)
        return ask()

    what = f"hf-hub:{repo}@{revision}/{file}"
    found = translate_errors(retry, what, cache_dir)
    if not COMMIT.fullmatch(found.commit_hash or ""):
        raise ValueError(f"{constants.ENDPOINT} must be a hub; it tells no commit of {repo}: look at HF_ENDPOINT")
    if size is not None and found.size != size:
        raise ValueError(f"{what} must have {size} bytes; the hub has {found.size}: it is not downloaded")
    if not file.endswith(".safetensors") and (found.size or 0) > MAX_SMALL_FILE:
        raise ValueError(
            f"{what} must have at most {MAX_SMALL_FILE} bytes; the hub has {found.size}: it is not downloaded"
        )
    return found


def _download(
    repo: str, revision: str, file: str, cache_dir: str | os.PathLike | None, force_download: bool = False
) -> Path:
    """Download with a few attempts: the client gives up on the first 5xx of a body."""
    folder = cache_folder(cache_dir)

    def attempt() -> Path:
        if force_download:
            held = cached(repo, revision, file, cache_dir)
            if held and not held.is_symlink():
                # Without symbolic links the client would keep the copy that stands there.
                held.unlink()
        return Path(hf_hub_download(repo, file, revision=revision, cache_dir=folder, force_download=force_download))

    def retry() -> Path:
        for pause in (*RETRY_DELAYS, 2 * RETRY_DELAYS[-1]):
            try:
                return attempt()
            except HfHubHTTPError as error:
                wait = retry_delay(error, pause)
                if wait is None:
                    raise
                time.sleep(wait)
        return attempt()

    return translate_errors(retry, f"hf-hub:{repo}@{revision}/{file}", cache_dir)
