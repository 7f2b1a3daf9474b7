"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def ensure_dir(path: Path) -> None:
    """Make a folder for results, and those above it. Raises ValueError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the output folder must be writable; {path}: {error.strerror}") from None


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it to ``path``; on an error leave nothing behind."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    except OSError as error:
        raise ValueError(
            f"the folder {path.parent} must be writable; {error.strerror or error}: choose another"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
