"""What a machine does to a long run: signals to end, memory that runs out, workers that are killed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch


class Interrupts:
    """Context in which SIGTERM and Ctrl-C set ``received`` instead of ending the process; a second one ends it.

    Only the main thread can take signals; in another nothing changes.
    """

    def __init__(self):
        self.received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextlib.contextmanager
def explain_runtime_errors(folder: Path) -> Iterator[None]:
    """Context that turns errors of the machine into one line that says what to change.

    Args:
        folder: where the training keeps its state.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        kept = f"the last good state is in {folder}, resume goes on from it"
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text:
            raise ValueError(
                "a step must fit into memory, and did not: lower batch_size (and raise grad_accum_steps) or crop, "
                f"raise the output stride, or set grad_checkpointing; {kept}"
            ) from error
        if "DataLoader worker" in text and "killed" in text:
            raise ValueError(f"data workers must live, and one was killed (memory?): use fewer; {kept}") from error
        raise
