"""Locate, check and delete cached files."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

# Bytes. Files other than safetensors may be no larger, and the digest in their cached name is checked.
MAX_SMALL_FILE = 1 << 20


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of downloads: ``cache_dir``, else ``GATEZOO_CACHE``, else huggingface_hub's own cache."""
    return Path(cache_dir or os.environ.get("GATEZOO_CACHE") or constants.HF_HUB_CACHE).expanduser()


def cached(repo: str, commit: str, file: str, cache_dir: str | os.PathLike | None = None) -> Path | None:
    """Return the cached file of a commit, or None; the Hub is not asked."""
    path = try_to_load_from_cache(repo, file, cache_folder(cache_dir), commit)
    return Path(path) if isinstance(path, str) else None


def delete_cached(path: Path) -> None:
    """Delete a cached file: the blob and the link to it."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def matches_etag(path: Path) -> bool:
    """Return whether a small cached file has the digest in its blob's name; True where the name is no digest."""
    name = path.resolve().name
    if path.stat().st_size > MAX_SMALL_FILE or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
        return True
    data = path.read_bytes()
    # The Hub identifies a large file by its sha256, any other by its git object id.
    digest = hashlib.sha256(data) if len(name) == 64 else hashlib.sha1(b"blob %d\0" % len(data) + data)
    return digest.hexdigest() == name
