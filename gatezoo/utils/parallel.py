"""Threads for work that waits for files, and processes that end with the one that started them."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing.connection  # it registers what must run after our own function, and so must be first
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 8


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed by one thread per core and at most ``MAX_THREADS``."""
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(function, items)


def read_ahead(items: Sequence[Item], read: Callable[[Item], Result]) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Yield each item with a function that returns ``read(item)`` or raises its error.

    While one item is being used, a thread reads the next one, and no more, so that memory holds two.
    """
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(read, item) for item in items[:1]]
        for number, item in enumerate(items, start=1):
            now = ahead.pop()
            ahead += [pool.submit(read, following) for following in items[number : number + 1]]
            yield item, now.result


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


def is_main_process() -> bool:
    """Return whether this is the only process or the first of a distributed run, also before they have found together.

    ``torchrun`` and ``accelerate launch`` set the number; torch.distributed knows it only once its group exists.
    """
    return os.environ.get("RANK", "0") == "0"


@atexit.register
def _end_data_workers() -> None:
    """End the data workers that are left when the program ends, which multiprocessing would wait for without end.

    It sends one SIGTERM, which they ignore; some are left after an error, whose traceback keeps their loader alive.
    """
    if workers := [child for child in multiprocessing.active_children() if child.daemon]:
        if hasattr(signal, "SIGCHLD"):  # at which torch looks for workers that were killed
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (multiprocessing.Process.terminate, multiprocessing.Process.kill):
            for worker in workers:
                end(worker)
            multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=0.5)


def plain_message(error: Exception) -> str:
    """Return the message of an error; of one from a data worker, without the traceback that torch adds."""
    text = str(error)
    if not text.startswith("Caught ") or "DataLoader worker" not in text.partition("\n")[0]:
        return text
    return text.rpartition(f"\n{type(error).__name__}: ")[2].strip()
