"""Handle interruptions of a long run: termination signals, lack of memory, killed processes."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as dist

from ..utils.allocator import is_out_of_memory
from ..utils.parallel import plain_message
from .messages import log_info

# Seconds that a process has to save and end after the one that started it is gone.
GRACE = 60


class Interrupts:
    """Context in which SIGTERM and Ctrl-C set ``received`` instead of ending the process; a second one ends it.

    Only the main thread can receive signals; in another thread nothing changes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


@functools.cache
def watch_parent() -> None:
    """Stop this process as SIGTERM does when the one that started it (torchrun) is killed, so that none is left over.

    The processes then save and end together; one that waits for another that is gone is ended after ``GRACE`` seconds.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        log_info("the process that started this training is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="watch_parent", daemon=True).start()


@contextlib.contextmanager
def explain_runtime_errors(folder: Path) -> Iterator[None]:
    """Turn lack of memory, killed processes and errors of data workers into a one-line ValueError.

    Args:
        folder: where the training saves its state.
    """
    try:
        yield
    except ValueError as error:
        if (message := plain_message(error)) != str(error):
            raise ValueError(message) from error
        raise
    except RuntimeError as error:
        text = str(error)
        saved = f"the last good state is in {folder}, --resume continues from it"
        if is_out_of_memory(error):
            raise ValueError(
                "a step must fit into memory, and did not: lower batch_size (and raise grad_accum_steps) or crop_size, "
                f"raise the output stride, or set grad_checkpointing; {saved}"
            ) from error
        if "DataLoader worker" in text and ("killed" in text or "exited unexpectedly" in text):
            raise ValueError(
                f"data workers must stay alive; one was killed (memory?): use fewer workers; {saved}"
            ) from error
        if isinstance(error, dist.DistError) or "gloo" in text:
            raise ValueError(f"all processes of a training must stay alive; another one ended: {saved}") from error
        raise
