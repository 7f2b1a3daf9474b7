"""What a file was when its digest was last computed, so that a large one is hashed once and not at every start."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from ..utils.files import atomic_write

# Nanoseconds. Two changes within a tick of a file system's clock look the same: a file younger than this is not noted.
MIN_FILE_AGE_NS = 2_000_000_000


def file_signature(path: Path) -> list[int]:
    """Size, times of the last change of content and of anything at all, and inode: whoever writes changes one."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_cached(note: Path, path: Path, sha256: str) -> bool:
    """Whether the note says that this very file has this digest."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        return told["sha256"] == sha256 and told["stamp"] == file_signature(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def store_digest(note: Path, stamp: list[int], sha256: str) -> None:
    """Write the note of a file that has been at rest. A folder that cannot be written has no notes: no error.

    Args:
        stamp: from before the file was read.
    """
    if time.time_ns() - max(stamp[1], stamp[2]) < MIN_FILE_AGE_NS:
        return
    with contextlib.suppress(OSError, ValueError):
        note.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(note, lambda path: path.write_text(json.dumps({"sha256": sha256, "stamp": stamp})))
