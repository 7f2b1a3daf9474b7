"""Requests to the Hub and to https servers, and the one way in which files are downloaded."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, tqdm

from ..utils.files import flush_to_disk
from .cache import MAX_SMALL_FILE, new_digest
from .errors import HTTPError, HubError, SlowBodyError, StatusError
from .retry import Budget, retry, run_with_timeout

# A body ends if fewer than MIN_RATE bytes a second come for RATE_WINDOW seconds.
MIN_RATE, RATE_WINDOW = 16_000, 10.0
MAX_REDIRECTS = 5
COMMIT_HEADER = "X-Repo-Commit"


def request_headers(url: str, budget: Budget) -> Any:
    """Return the headers of the first answer to HEAD that names a commit, else of the last."""

    def call(seconds: float) -> Any:
        response = run_with_timeout(seconds, lambda: _send("HEAD", url, seconds), _close)
        _close(response)
        return response.headers

    return retry(call, budget)


def download_file(url: str, path: Path, what: str, size: int, digest: str, budget: Budget) -> None:
    """Download a file beside ``path``, check it and rename it; whatever goes wrong, ``path`` is left unchanged.

    Args:
        url: where it is.
        path: where it goes; the folder exists.
        what: the file, for messages.
        size: in bytes; a body of any other is refused, a longer one as soon as it is.
        digest: a hex sha256 or git object id.
        budget: for the wait until the first byte.

    Raises:
        HubError: another length or digest.
        StatusError: the server refuses.
        OSError: no connection, a body that is too slow or too short, or the disk cannot be written.
    """
    temporary = path.with_name(f"{secrets.token_hex(8)}.incomplete")
    try:
        retry(lambda seconds: _download(url, temporary, what, size, digest, seconds, budget), budget)
        flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _download(url: str, path: Path, what: str, size: int, digest: str, seconds: float, budget: Budget) -> None:
    response, chunks, chunk = run_with_timeout(
        seconds, lambda: _open(url, what, size, seconds), lambda opened: _close(opened[0])
    )
    hasher, done = new_digest(digest, size), 0
    bar = tqdm(total=size, unit="B", unit_scale=True, desc=what, disable=True if size <= MAX_SMALL_FILE else None)
    window, received = time.monotonic(), 0
    with budget.paused(), contextlib.closing(response), path.open("wb") as file, bar:
        while chunk is not None:
            done += len(chunk)
            received += len(chunk)
            if done > size:
                raise HubError(f"{what} must have {size} bytes; the server sends more: it is not kept")
            file.write(chunk)
            hasher.update(chunk)
            bar.update(len(chunk))
            if (passed := time.monotonic() - window) >= RATE_WINDOW:
                if received < MIN_RATE * passed:
                    raise _slow(done, size)
                window, received = time.monotonic(), 0
            chunk = _next(chunks, done, size)
    if done < size:
        raise ConnectionError(f"the body ended after {done} of {size} bytes")
    if hasher.hexdigest() != digest:
        kind = "sha256" if len(digest) == 64 else "git object id"
        raise HubError(
            f"{what} must have {kind} {digest}; the download has other bytes: it is not kept, try again later"
        )


def _next(chunks: Iterator[bytes], done: int, size: int) -> bytes | None:
    began = time.monotonic()
    try:
        return next(chunks, None)
    except HTTPError:
        if time.monotonic() - began > 0.9 * RATE_WINDOW:
            raise _slow(done, size) from None
        raise ConnectionError(f"the body ended after {done} of {size} bytes") from None


def _slow(done: int, size: int) -> SlowBodyError:
    return SlowBodyError(f"less than {MIN_RATE / 1000:.0f} kB/s come, {done} of {size} bytes in all")


def _open(url: str, what: str, size: int, seconds: float) -> tuple[Any, Iterator[bytes], bytes | None]:
    """Return a response, what is left of its body, and the first bytes, for which the budget has to wait, too."""
    response = _send("GET", url, seconds)
    try:
        length = response.headers.get("Content-Length")
        if length is not None and length != str(size):
            raise HubError(f"{what} must have {size} bytes; the server has {length[:20]}: it is not downloaded")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise HubError(f"{what} must come as it is; the server compresses it: try again later")
        chunks = response.iter_raw()
        return response, chunks, _next(chunks, 0, size)
    except BaseException:
        _close(response)
        raise


def _send(method: str, url: str, seconds: float) -> Any:
    """Send a request and follow its redirects; the token goes to the Hub's own address alone."""
    if constants.HF_HUB_OFFLINE:
        raise OfflineModeIsEnabled
    session = get_session()
    for _ in range(MAX_REDIRECTS + 1):
        # False, where None would stand for the stored token.
        headers = build_hf_headers(token=None if _origin(url) == _origin(constants.ENDPOINT) else False)
        headers["Accept-Encoding"] = "identity"
        try:
            # Of connecting, reading, writing and waiting for a free connection.
            timeout = (seconds, RATE_WINDOW, seconds, seconds)
            request = session.build_request(method, url, headers=headers, timeout=timeout)
        except Exception as error:  # the HTTP libraries of the client have kinds of their own
            raise HubError(f"{url[:200]!r} must be an address; {error}: check HF_ENDPOINT") from None
        response = session.send(request, stream=True, follow_redirects=False)
        location = response.headers.get("Location") if 300 <= response.status_code < 400 else None
        if location is None or (method == "HEAD" and COMMIT_HEADER in response.headers):
            if location is None and response.status_code != 200:
                _close(response)
                raise StatusError(response.status_code, response.headers, response.reason_phrase)
            return response
        _close(response)
        target = urljoin(url, location)
        if urlsplit(target).scheme not in {"https", urlsplit(url).scheme}:
            raise HubError(f"{url} must stay at https; it redirects to {target[:200]!r}: it is not followed")
        url = target
    raise HubError(f"{url[:200]} must lead to a file; it redirects more than {MAX_REDIRECTS} times: check the address")


def _close(response: Any) -> None:
    with contextlib.suppress(HTTPError, OSError):
        response.close()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
