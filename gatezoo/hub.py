"""The Hugging Face Hub: fetch files, upload folders. The only file that imports huggingface_hub.

What is cached and pinned to a commit costs no request. Before a download the hub is asked once and briefly, so that
one that does not answer is told within seconds: the client alone would go on asking for half a minute.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

# Of whatever HTTP library the client is built on.
_HTTPError = HfHubHTTPError.__bases__[0]

COMMIT = re.compile(r"[0-9a-f]{40}")
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Nothing else is fetched: no pickle, whatever a repository holds.
FETCHED = (".safetensors", ".json", ".md")
# Seconds: all attempts to reach the hub together, one of them, and what it may ask us to wait.
PATIENCE, KNOCK, LONGEST_WAIT = 4.5, 3.0, 60.0
PAUSES = (0.3, 1.0)
# A larger file has a digest of its own in what names it.
SMALL = 1 << 20

_log = logging.getLogger("gatezoo")


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Where downloads are kept: as told, else the variable ``GATEZOO_CACHE``, else huggingface_hub's own cache."""
    return Path(cache_dir or os.environ.get("GATEZOO_CACHE") or constants.HF_HUB_CACHE).expanduser()


def resolve(repo: str, revision: str | None = None, cache_dir: str | os.PathLike | None = None) -> str:
    """The commit that a branch or tag names (default: main): one request, none for a commit.

    A hub that cannot be reached leaves what the cache last knew of the branch, and the log says so.

    Raises:
        ValueError: no such repository or revision, or neither the hub nor the cache knows it.
    """
    _check_repo(repo)
    revision = revision or constants.DEFAULT_REVISION
    if not re.fullmatch(r"[\w./-]+", revision) or ".." in revision:
        raise ValueError(f"a revision is a branch, a tag or a commit; got {revision!r}")
    if COMMIT.fullmatch(revision):
        return revision
    path = try_to_load_from_cache(repo, "config.json", cache_folder(cache_dir), revision)
    known = Path(path).parent.name if isinstance(path, str) else None
    try:
        commit = _knock(repo, revision, "config.json", cache_dir)
    except _Unreachable as error:
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


def fetch(repo: str, commit: str, file: str, cache_dir: str | os.PathLike | None = None, again: bool = False) -> Path:
    """A local file of a pinned commit: the cached one, else downloaded.

    Args:
        again: download it whatever the cache has, and put it in its place.

    Raises:
        ValueError: the hub has no such file or will not give it, cannot be reached, or the cache cannot be written;
            or a small file's bytes are not those it is named after, even when downloaded again.
    """
    _check_repo(repo)
    if not file.endswith(FETCHED) or not re.fullmatch(r"[\w.-]+", file):
        raise ValueError(f"only {', '.join(FETCHED)} files are fetched from a hub; got {file!r}: a pickle can run code")
    path = None if again else cached(repo, commit, file, cache_dir)
    if path and is_what_it_is_named(path):
        return path
    _knock(repo, commit, file, cache_dir)
    fetched = _download(repo, commit, file, cache_dir, again=again or path is not None)
    if not is_what_it_is_named(fetched):
        forget(fetched)
        raise ValueError(f"{file} of {repo} arrives with other bytes than the hub tells of: try again later")
    return fetched


def forget(path: Path) -> None:
    """Remove a cached file, its bytes and its name."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def is_what_it_is_named(path: Path) -> bool:
    """Whether a small cached file has the digest that the cache names its bytes by; True where it keeps no names."""
    name = path.resolve().name
    if path.stat().st_size > SMALL or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
        return True
    data = path.read_bytes()
    # The hub knows a large file by its sha256, any other as git does.
    digest = hashlib.sha256(data) if len(name) == 64 else hashlib.sha1(b"blob %d\0" % len(data) + data)
    return digest.hexdigest() == name


def upload(folder: Path, repo: str, message: str, private: bool = False) -> str:
    """Make the repository if need be and commit all files of a folder; returns the 40-hex commit.

    Raises:
        ValueError: no token that may write there, a card that the hub refuses, or no hub.
    """
    _check_repo(repo)
    api = HfApi()

    def send() -> str:
        _within(KNOCK, api.whoami)
        api.create_repo(repo, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).oid

    return _told(send, f"hf-hub:{repo}", None)


class _Unreachable(ValueError):
    """The hub does not answer, or may not be asked."""


def _check_repo(repo: str) -> None:
    if not REPO.fullmatch(repo) or ".." in repo:
        raise ValueError(f"a repository is org/name; got {repo!r}")


def _knock(repo: str, revision: str, file: str, cache_dir: str | os.PathLike | None) -> str:
    """Ask for the commit of a file, a few times within ``PATIENCE`` seconds."""
    url = hf_hub_url(repo, file, revision=revision)
    until = time.monotonic() + PATIENCE

    def ask() -> str | None:
        limit = min(KNOCK, max(until - time.monotonic(), 0.1))
        return _within(limit, lambda: get_hf_file_metadata(url, timeout=limit)).commit_hash

    def patiently() -> str | None:
        nonlocal until
        for pause in PAUSES:
            try:
                return ask()
            except OfflineModeIsEnabled:
                raise
            except (_HTTPError, OSError) as error:
                wait = _wait_of(error, pause)
                if wait is not None and _status(error) == 429:
                    until += wait
                if wait is None or time.monotonic() + wait > until:
                    raise
                time.sleep(wait)
        return ask()

    commit = _told(patiently, f"hf-hub:{repo}@{revision}/{file}", cache_dir)
    if not COMMIT.fullmatch(commit or ""):
        raise ValueError(f"{constants.ENDPOINT} must be a hub; it tells no commit of {repo}: look at HF_ENDPOINT")
    return commit


def _download(repo: str, revision: str, file: str, cache_dir: str | os.PathLike | None, again: bool = False) -> Path:
    """Download with a few attempts: the client gives up on the first 5xx of a body."""
    folder = cache_folder(cache_dir)

    def attempt() -> Path:
        if again:
            held = cached(repo, revision, file, cache_dir)
            if held and not held.is_symlink():
                # Without symbolic links the client would keep the copy that stands there.
                held.unlink()
        return Path(hf_hub_download(repo, file, revision=revision, cache_dir=folder, force_download=again))

    def patiently() -> Path:
        for pause in (*PAUSES, 2 * PAUSES[-1]):
            try:
                return attempt()
            except HfHubHTTPError as error:
                wait = _wait_of(error, pause)
                if wait is None:
                    raise
                time.sleep(wait)
        return attempt()

    return _told(patiently, f"hf-hub:{repo}@{revision}/{file}", cache_dir)


def _wait_of(error: Exception, pause: float | None) -> float | None:
    """Seconds until it makes sense to ask again; None if it does not."""
    status, headers = _status(error), getattr(getattr(error, "response", None), "headers", {})
    if status == 429:
        told = headers.get("Retry-After") or "".join(re.findall(r"t=(\d+)", headers.get("ratelimit", ""))[:1])
        wait = float(told) if told.isdigit() else pause
        return wait if wait is not None and wait <= LONGEST_WAIT else None
    return pause if status is None or status >= 500 else None


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """The call's result, or TimeoutError: looking up a host's name knows no limit of its own."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return results[0]


def _told(call: Callable[[], Any], what: str, cache_dir: str | os.PathLike | None) -> Any:
    """The call's result; whatever goes wrong with hub or cache as one line that says what would help."""
    try:
        return call()
    except OfflineModeIsEnabled:
        raise _Unreachable(_ways_out(what, cache_dir, "HF_HUB_OFFLINE is set")) from None
    except (HfHubHTTPError, EntryNotFoundError) as error:
        status = _status(error)
        if status is None or status >= 500 or isinstance(error, LocalEntryNotFoundError):
            reason = f"status {status}" if status else _reason(error.__cause__ or error)
            raise _Unreachable(_ways_out(what, cache_dir, reason)) from None
        raise ValueError(_refusal(what, status, error)) from None
    except (TimeoutError, ConnectionError, _HTTPError) as error:
        raise _Unreachable(_ways_out(what, cache_dir, _reason(error))) from None
    except LocalTokenNotFoundError:
        raise ValueError(f"{what} must be yours to write; there is no token: set HF_TOKEN or 'hf auth login'") from None
    except OSError as error:
        folder = cache_folder(cache_dir)
        raise ValueError(
            f"the cache {folder} must be writable and have room for {what}; {error.strerror or error}: "
            "choose another with cache_dir, GATEZOO_CACHE or HF_HOME"
        ) from None
    except ValueError as error:
        raise ValueError(f"{what} was refused: {' '.join(str(error).split())}") from None


def _refusal(what: str, status: int, error: Exception) -> str:
    code = error.response.headers.get("X-Error-Code") or ""
    if status == 429:
        return f"the hub limits how often it may be asked ({what}): set HF_TOKEN, or try again later"
    if code == "EntryNotFound":
        return f"{what} must be in the repository; it is not: a model folder holds config.json and model.safetensors"
    if code == "RevisionNotFound":
        return f"{what} must name a branch, tag or commit; the repository has none of this name"
    if status in (401, 403, 404):
        return f"{what} must exist and be yours to use; the hub says {status}: look at its name and at HF_TOKEN"
    return f"{what} was refused by the hub: status {status}, {_reason(error)}"


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _ways_out(what: str, cache_dir: str | os.PathLike | None, reason: str) -> str:
    return (
        f"{what} must be in the cache or the hub {constants.ENDPOINT} in reach; {reason}: fetch it where there is a "
        f"network ('gatezoo weights fetch', then copy {cache_folder(cache_dir)}), use a copied folder with local-dir:, "
        "or name another hub with HF_ENDPOINT"
    )
