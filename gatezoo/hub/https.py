"""Files at a plain https address, kept in a folder of the cache under their sha256."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from .errors import CONNECT_TIMEOUT, RETRY_DELAYS, HubUnreachableError, cache_folder, run_with_timeout


def cache_path(url: str, sha256: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Where the cache keeps the file of an address, whether it is there or not."""
    return cache_folder(cache_dir) / "gatezoo" / sha256 / url.rpartition("/")[2]


def download(url: str, path: Path, sha256: str, size: int) -> Path:
    """Bring a file here and put it in its place, whole and checked, or leave the place as it was.

    The server is asked for the length first and briefly; what fails in a way that may pass is tried a few times.

    Raises:
        ValueError: the server does not answer, has no such file or another one, or the cache cannot be written.
    """
    import torch  # looking through the cache goes without

    if constants.HF_HUB_OFFLINE:
        raise HubUnreachableError(f"{url} must be in the cache; it is not, and HF_HUB_OFFLINE is set")
    length = _patiently(lambda: run_with_timeout(CONNECT_TIMEOUT, lambda: _length(url)), url)
    if length is not None and int(length) != size:
        raise ValueError(f"{url} must have {size} bytes; the server has {length}: it is not downloaded")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _patiently(lambda: torch.hub.download_url_to_file(url, str(path), sha256, progress=False), url)
    except RuntimeError:
        raise ValueError(f"{url} must have sha256 {sha256}; it arrives with other bytes: try again later") from None
    except OSError as error:
        raise ValueError(
            f"the cache {path.parent} must be writable and have room; {error.strerror or error}: "
            "choose another with cache_dir, GATEZOO_CACHE or HF_HOME"
        ) from None
    return path


def _length(url: str) -> str | None:
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_TIMEOUT) as answer:
        return answer.headers.get("Content-Length")


def _patiently(call: Callable[[], Any], url: str) -> Any:
    for pause in (*RETRY_DELAYS, None):
        try:
            return call()
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            status = getattr(error, "code", None)
            if pause is None or (status is not None and status < 500):
                reason = f"status {status}" if status else getattr(error, "reason", error)
                raise HubUnreachableError(
                    f"{url} must be in the cache or in reach; {reason}: fetch it where there is a network "
                    "('gatezoo weights fetch'), or use a copied folder with local-dir:"
                ) from None
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
