"""Let one training at a time write into a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from .messages import log_info

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "training.lock"


def check_unlocked(folder: Path) -> None:
    """Raise ValueError if another process trains into a folder."""
    if os.path.exists(folder / LOCK):  # also of a name that is too long
        with lock_folder(folder, warn=False):
            pass


@contextlib.contextmanager
def lock_folder(folder: Path, warn: bool = True) -> Iterator[None]:
    """Hold the lock of a folder, which the operating system releases when the process ends, however it does.

    It is a lock of the process: data workers do not inherit it. Where the file system has no locks, there is none.

    Args:
        folder: that exists.
        warn: log a message where the file system has no locks.

    Raises:
        ValueError: another process holds it.
    """
    try:
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise ValueError(
            f"the output folder must be writable; got {folder}, {error.strerror or error}: choose another"
        ) from None
    with file:
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, "no locks on this system")
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise ValueError(
                    f"one training at a time must write into a folder; process {file.read(99)} trains into "
                    f"{folder}: wait for it, or choose another"
                ) from None
            if warn:
                log_info(f"{folder} cannot be locked ({error.strerror}): start no second training into it")
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()} on {platform.node()}".encode())
        yield
