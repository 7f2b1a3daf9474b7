"""Long work that reports progress, and that its visitor, a newer request or a time limit can stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

# A job that takes longer ends, so that the next visitor in the queue is not kept waiting without end.
MAX_SECONDS = 300.0

Report = Callable[[float | None, str], object]


class Stopped(Exception):  # noqa: N818 - no error
    """The work was stopped on request."""


class Job:
    """Work of one visitor.

    Args:
        report: called with the share that is done, None if it is not known, and what is being done.
        seconds: after which it ends.
    """

    def __init__(self, report: Report | None = None, seconds: float = MAX_SECONDS):
        self._report, self._stopped = report, threading.Event()
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def stop(self) -> None:
        """End the work at its next step; any thread may call this."""
        self._stopped.set()

    def check(self) -> None:
        """Raise :class:`Stopped` if the work is to end, or ValueError after its time."""
        if self._stopped.is_set():
            raise Stopped
        if time.monotonic() > self._end:
            raise ValueError(
                f"an image must be done within {self._seconds:g} seconds, so that others need not wait; this one was "
                "not: reduce it, or use gatezoo predict"
            )

    def report(self, share: float | None, text: str) -> None:
        """Tell the visitor what is being done."""
        self.check()
        if self._report:
            self._report(share, text)


_current: ContextVar[Job | None] = ContextVar("job", default=None)


def check() -> None:
    """End the work of the calling thread if its job is to end; see :meth:`Job.check`."""
    if job := _current.get():
        job.check()


def report(share: float | None, text: str) -> None:
    """Report the progress of the calling thread's job, if it has one."""
    if job := _current.get():
        job.report(share, text)


def watch(network: nn.Module) -> None:
    """Make a network check before each convolution whether the job that runs it is to end."""

    def before(module: nn.Module, inputs: Any) -> None:
        check()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(before)


class Jobs:
    """The running job of each visitor."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    @contextmanager
    def run(self, visitor: str, report: Report | None = None, seconds: float = MAX_SECONDS) -> Iterator[Job]:
        """Make what the thread does within the ``with`` block a job; the visitor's job before it is stopped."""
        job = Job(report, seconds)
        self.stop(visitor)
        self._jobs[visitor] = job
        token = _current.set(job)
        try:
            yield job
        finally:
            _current.reset(token)
            if self._jobs.get(visitor) is job:
                del self._jobs[visitor]

    def stop(self, visitor: str) -> None:
        """Stop a visitor's job, if there is one."""
        if job := self._jobs.get(visitor):
            job.stop()
