"""What a hub may be asked, how long to wait for it, and its refusals as one line that says what would help."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

# Of whatever HTTP library the client is built on.
HTTPError = HfHubHTTPError.__bases__[0]

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Bytes: what is no file of tensors is at most this large, and has the digest that the cache names it by checked here.
MAX_SMALL_FILE = 1 << 20
# Seconds: all attempts to reach the hub together, one of them, and what it may ask us to wait.
TOTAL_TIMEOUT, CONNECT_TIMEOUT, LONGEST_WAIT = 4.5, 3.0, 60.0
RETRY_DELAYS = (0.3, 1.0)


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Where downloads are kept: as told, else the variable ``GATEZOO_CACHE``, else huggingface_hub's own cache."""
    return Path(cache_dir or os.environ.get("GATEZOO_CACHE") or constants.HF_HUB_CACHE).expanduser()


class HubUnreachableError(ValueError):
    """The hub does not answer, or may not be asked."""


def check_repo(repo: str) -> None:
    if not REPO.fullmatch(repo) or ".." in repo:
        raise ValueError(f"a repository is org/name; got {repo!r}")


def retry_delay(error: Exception, pause: float | None) -> float | None:
    """Seconds until it makes sense to ask again; None if it does not."""
    status, headers = status_of(error), getattr(getattr(error, "response", None), "headers", {})
    if status == 429:
        delay = headers.get("Retry-After") or "".join(re.findall(r"t=(\d+)", headers.get("ratelimit", ""))[:1])
        wait = float(delay) if delay.isdigit() else pause
        return wait if wait is not None and wait <= LONGEST_WAIT else None
    return pause if status is None or status >= 500 else None


def status_of(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def run_with_timeout(seconds: float, call: Callable[[], Any]) -> Any:
    """The call's result, or TimeoutError: looking up a host's name knows no limit of its own."""
    results: list[Any] = []
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


def translate_errors(call: Callable[[], Any], what: str, cache_dir: str | os.PathLike | None) -> Any:
    """The call's result; whatever goes wrong with hub or cache as one line that says what would help."""
    try:
        return call()
    except OfflineModeIsEnabled:
        raise HubUnreachableError(_ways_out(what, cache_dir, "HF_HUB_OFFLINE is set")) from None
    except (HfHubHTTPError, EntryNotFoundError) as error:
        status = status_of(error)
        if status is None or status >= 500 or isinstance(error, LocalEntryNotFoundError):
            reason = f"status {status}" if status else _reason(error.__cause__ or error)
            raise HubUnreachableError(_ways_out(what, cache_dir, reason)) from None
        # What is cached need not wait until the hub may be asked again.
        kind = HubUnreachableError if status == 429 else ValueError
        raise kind(_refusal(what, status, error)) from None
    except (TimeoutError, ConnectionError, HTTPError) as error:
        raise HubUnreachableError(_ways_out(what, cache_dir, _reason(error))) from None
    except LocalTokenNotFoundError:
        raise ValueError(f"{what} must be yours to write; there is no token: set HF_TOKEN or 'hf auth login'") from None
    except OSError as error:
        folder = cache_folder(cache_dir)
        raise ValueError(
            f"the cache {folder} must be writable and have room for {what}; {error.strerror or error}: "
            "choose another with cache_dir, GATEZOO_CACHE or HF_HOME"
        ) from None
    except ValueError as error:
        raise ValueError(f"{what} was refused: {' '.join(str(error).split())}") from None


def _refusal(what: str, status: int, error: Exception) -> str:
    code = error.response.headers.get("X-Error-Code") or ""
    if status == 429:
        return f"the hub limits how often it may be asked ({what}): set HF_TOKEN, or try again later"
    if code == "EntryNotFound":
        return f"{what} must be in the repository; it is not: a model folder holds config.json and model.safetensors"
    if code == "RevisionNotFound":
        return f"{what} must name a branch, tag or commit; the repository has none of this name"
    if status in (401, 403, 404):
        return f"{what} must exist and be yours to use; the hub says {status}: look at its name and at HF_TOKEN"
    return f"{what} was refused by the hub: status {status}, {_reason(error)}"


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _ways_out(what: str, cache_dir: str | os.PathLike | None, reason: str) -> str:
    return (
        f"{what} must be in the cache or the hub {constants.ENDPOINT} in reach; {reason}: fetch it where there is a "
        f"network ('gatezoo weights fetch', then copy {cache_folder(cache_dir)}), use a copied folder with local-dir:, "
        "or name another hub with HF_ENDPOINT"
    )
