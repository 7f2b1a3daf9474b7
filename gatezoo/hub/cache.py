"""Locate, check and delete cached files."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from ..utils.files import write_text

# Bytes. Files other than safetensors may be no larger, and the digest in their cached name is checked.
MAX_SMALL_FILE = 1 << 20
# The name of a blob; anything else could be a path.
ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


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


def repo_folder(repo: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of a repository in the cache, with ``blobs``, ``snapshots`` and ``refs``."""
    return cache_folder(cache_dir) / f"models--{repo.replace('/', '--')}"


def link_blob(folder: Path, etag: str, commit: str, file: str) -> Path:
    """Make a blob the file of a commit: by a link, or where the system has none, by moving it there.

    Args:
        folder: of the repository.
        etag: name of the blob.
        commit: of 40 hex digits.
        file: name of the file.
    """
    path = folder / "snapshots" / commit / file
    path.parent.mkdir(parents=True, exist_ok=True)
    link = path.with_name(f"{secrets.token_hex(8)}.incomplete")
    try:
        os.symlink(os.path.join("..", "..", "blobs", etag), link)
    except (OSError, NotImplementedError):
        os.replace(folder / "blobs" / etag, path)
        return path
    try:
        os.replace(link, path)
    finally:
        link.unlink(missing_ok=True)
    return path


def store_ref(folder: Path, revision: str, commit: str) -> None:
    """Record the commit of a branch or tag."""
    path = folder / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, commit)


def new_digest(etag: str, size: int) -> hashlib._Hash:
    """Return the hash whose digest an ETag is: sha256 of a large file, the git object id of any other."""
    return hashlib.sha256() if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def matches_digest(path: Path, etag: str) -> bool:
    """Return whether a file has the digest of an ETag."""
    digest = new_digest(etag, path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == etag


def matches_etag(path: Path) -> bool:
    """Return whether a small cached file has the digest in its blob's name; True where the name is no digest."""
    name = path.resolve().name
    return path.stat().st_size > MAX_SMALL_FILE or not ETAG.fullmatch(name) or matches_digest(path, name)
