"""Threads for work that waits for files, and processes that end with the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 8


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed by one thread per core and at most ``MAX_THREADS``."""
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(function, items)


def init_data_worker(worker: int = 0) -> None:
    """Leave it to the process that started this one, a loader of data, when this one ends.

    Ctrl-C and a scheduler's SIGTERM reach all processes: here they are ignored, but a second SIGTERM is not, so that
    what is needed to stop in good order is still loaded. When the process that started this one ends, however it does,
    the system kills this one (on Linux; elsewhere torch's workers look for their parent every few seconds).

    Args:
        worker: number of the process, which a loader passes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
