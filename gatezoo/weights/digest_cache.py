"""Cache of file digests, so that a large file is hashed once and not on every load."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from ..utils.files import write_json

# Nanoseconds. Two changes within one tick of a file system's clock have the same times, so the digest of a file
# younger than this is not stored.
MIN_FILE_AGE_NS = 2_000_000_000


def file_signature(path: Path) -> list[int]:
    """Return size, mtime, ctime and inode of a file: every write changes one of them."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_cached(note: Path, path: Path, sha256: str) -> bool:
    """Return whether ``note`` holds this digest for the file as it is now."""
    try:
        stored = json.loads(note.read_text(encoding="utf-8"))
        return stored["sha256"] == sha256 and stored["stamp"] == file_signature(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def store_digest(note: Path, signature: list[int], sha256: str) -> None:
    """Write the digest of a file that was not changed recently; in a read-only folder do nothing.

    Args:
        note: file to write.
        signature: :func:`file_signature` from before the file was hashed.
        sha256: digest of the file.
    """
    if time.time_ns() - max(signature[1], signature[2]) < MIN_FILE_AGE_NS:
        return
    with contextlib.suppress(OSError, ValueError):
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"sha256": sha256, "stamp": signature}, indent=None)
