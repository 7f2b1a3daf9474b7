"""Timeouts and retry delays of requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import status_of

T = TypeVar("T")

# Seconds: all attempts to reach the Hub together, one of them, and the longest wait that the Hub may ask for.
TOTAL_TIMEOUT, CONNECT_TIMEOUT, LONGEST_WAIT = 4.5, 3.0, 60.0
# Seconds before the second and the third attempt.
RETRY_DELAYS = (0.3, 1.0)


def retry_delay(error: Exception, default: float | None) -> float | None:
    """Return the seconds to wait before a retry, or None if a retry is pointless.

    Args:
        error: error of the last attempt. Client errors (4xx) are final, but for 429, whose headers may give a delay.
        default: delay where the server gives none.
    """
    status, headers = status_of(error), getattr(getattr(error, "response", None), "headers", {})
    if status == 429:
        delay = headers.get("Retry-After") or "".join(re.findall(r"t=(\d+)", headers.get("ratelimit", ""))[:1])
        seconds = float(delay) if delay.isdigit() else default
        return seconds if seconds is not None and seconds <= LONGEST_WAIT else None
    return default if status is None or status >= 500 else None


def run_with_timeout(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of ``call``, or raise TimeoutError after ``seconds``.

    A thread is needed because the timeouts of the HTTP client do not cover the lookup of a host name.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return results[0]
