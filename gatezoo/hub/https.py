"""Download files from plain https addresses to a folder of the cache named by their sha256."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .cache import cache_folder
from .errors import HubError, HubUnreachableError, WebDownload, translate_errors
from .retry import Budget
from .stream import download_file, request_headers


def cache_path(url: str, sha256: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the path of an address's file in the cache, whether or not it exists."""
    return cache_folder(cache_dir) / "gatezoo" / sha256 / url.rpartition("/")[2]


def check_reachable(url: str) -> None:
    """Check that a server answers, whatever it says about the address.

    Raises:
        HubUnreachableError: it does not answer in time, or offline mode is set.
    """
    try:
        translate_errors(lambda: request_headers(url, Budget()), WebDownload(url, None))
    except HubUnreachableError:
        raise
    except HubError:
        pass  # what the download itself will tell


def download(url: str, sha256: str, size: int, cache_dir: str | os.PathLike | None = None) -> Path:
    """Download a file to its :func:`cache_path`, which is left unchanged on an error, and check it.

    Raises:
        ValueError: the server does not answer, has no such file or another one, or the cache cannot be written.
    """
    path = cache_path(url, sha256, cache_dir)

    def call() -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            download_file(url, path, url, size, sha256, Budget())
        except BaseException:
            with contextlib.suppress(OSError):  # unless it holds an older file
                path.parent.rmdir()
            raise
        return path

    return translate_errors(call, WebDownload(url, cache_dir))
