"""Download files from plain https addresses to a folder of the cache named by their sha256."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants

from .cache import cache_folder
from .errors import HubUnreachableError
from .retry import CONNECT_TIMEOUT, RETRY_DELAYS, run_with_timeout

T = TypeVar("T")


def cache_path(url: str, sha256: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the path of an address's file in the cache, whether or not it exists."""
    return cache_folder(cache_dir) / "gatezoo" / sha256 / url.rpartition("/")[2]


def download(url: str, path: Path, sha256: str, size: int) -> Path:
    """Download a file, check it and move it to ``path``; on an error ``path`` is left unchanged.

    The length is requested first, with a short timeout; temporary errors are retried a few times.

    Raises:
        ValueError: the server does not answer, has no such file or another one, or the cache cannot be written.
    """
    import torch  # not needed where nothing is downloaded

    if constants.HF_HUB_OFFLINE:
        raise HubUnreachableError(f"{url} must be in the cache; it is not, and HF_HUB_OFFLINE is set")
    length = _retry(lambda: run_with_timeout(CONNECT_TIMEOUT, lambda: _content_length(url)), url)
    if length is not None and int(length) != size:
        raise ValueError(f"{url} must have {size} bytes; the server has {length}: it is not downloaded")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _retry(lambda: torch.hub.download_url_to_file(url, str(path), sha256, progress=False), url)
    except RuntimeError:
        raise ValueError(f"{url} must have sha256 {sha256}; the download has another: try again later") from None
    except OSError as error:
        raise ValueError(
            f"the cache {path.parent} must be writable and have room; {error.strerror or error}: "
            "choose another with cache_dir, GATEZOO_CACHE or HF_HOME"
        ) from None
    return path


def _content_length(url: str) -> str | None:
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_TIMEOUT) as response:
        return response.headers.get("Content-Length")


def _retry(call: Callable[[], T], url: str) -> T:
    """Return the result of ``call``, retried after ``RETRY_DELAYS`` on server and connection errors."""
    for delay in (*RETRY_DELAYS, None):
        try:
            return call()
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            status = getattr(error, "code", None)
            if delay is None or (status is not None and status < 500):
                reason = f"status {status}" if status else getattr(error, "reason", error)
                raise HubUnreachableError(
                    f"{url} must be in the cache or reachable; {reason}: download it where there is a network "
                    "('gatezoo weights download'), or use a copied folder with local-dir:"
                ) from None
            time.sleep(delay)
    raise AssertionError("the last attempt returns or raises")
