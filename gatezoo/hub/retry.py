"""One budget of time for all that a download waits for, and one way to try again within it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from huggingface_hub.errors import OfflineModeIsEnabled

from .errors import HTTPError, SlowBodyError, StatusError, status_error

T = TypeVar("T")

# Seconds: all that a call waits for until the first byte of its file (attempts, pauses and redirects), and one attempt.
FIRST_BYTE_TIMEOUT, ATTEMPT_TIMEOUT = 4.5, 3.0
# Seconds before the second, third and fourth attempt, where the server asks for no other.
RETRY_DELAYS = (0.3, 0.7, 1.4)


class Budget:
    """Time that the steps of one call may wait together."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + FIRST_BYTE_TIMEOUT

    def left(self) -> float:
        """Return the seconds left; negative if there are none."""
        return self.deadline - time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of what has a limit of its own."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.deadline += time.monotonic() - began


def retry(call: Callable[[float], T], budget: Budget) -> T:
    """Return the result of ``call``, tried again while the budget lasts.

    Errors of connections, timeouts, status 429 and from 500 on may pass; all others are raised at once, and so is one
    whose ``Retry-After`` is later than the budget ends.

    Args:
        call: takes the seconds that it may use.
        budget: of the whole call.
    """
    for default in RETRY_DELAYS:
        try:
            return call(_attempt_seconds(budget))
        except (OfflineModeIsEnabled, SlowBodyError):
            raise
        except (StatusError, HTTPError, TimeoutError, ConnectionError) as error:
            delay, refusal = default, status_error(error)
            if refusal:
                if refusal.status != 429 and refusal.status < 500:
                    raise
                delay = default if refusal.retry_after is None else refusal.retry_after
            if delay > budget.left():
                raise
            time.sleep(delay)
    return call(_attempt_seconds(budget))


def _attempt_seconds(budget: Budget) -> float:
    return min(ATTEMPT_TIMEOUT, max(budget.left(), 0.05))


def run_with_timeout(seconds: float, call: Callable[[], T], discard: Callable[[T], object] | None = None) -> T:
    """Return the result of ``call``, or raise TimeoutError after ``seconds``.

    A thread is needed because the timeouts of the HTTP client cover neither the lookup of a host name nor headers that
    come byte by byte.

    Args:
        seconds: to wait.
        call: runs in a thread.
        discard: called with a result that comes too late.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    lock, late = threading.Lock(), False

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            errors.append(error)
            return
        with lock:
            if not late:
                results.append(result)
                return
        if discard:
            discard(result)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:
        with lock:
            late = True
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:.1f} s")
    return results[0]
