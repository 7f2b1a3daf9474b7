"""Turn errors of the Hub and the cache into one line with a suggested fix."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar, cast

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from .cache import cache_folder

T = TypeVar("T")

# The base class of HTTP errors in the HTTP library that the installed client uses.
HTTPError = cast("type[Exception]", HfHubHTTPError.__bases__[0])

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class HubUnreachableError(ValueError):
    """The Hub does not answer, or may not be asked."""


def check_repo(repo: str) -> None:
    """Raise ValueError unless ``repo`` is ``org/name``."""
    if not REPO.fullmatch(repo) or ".." in repo:
        raise ValueError(f"a repository must be org/name; got {repo!r}: give both")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error of the Hub's client; None for other errors."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def translate_errors(call: Callable[[], T], what: str, cache_dir: str | os.PathLike | None) -> T:
    """Run ``call`` and turn Hub and cache errors into a one-line ValueError with a suggested fix.

    Args:
        call: request to the Hub.
        what: file or repository, for the messages.
        cache_dir: as given by the user, for the messages.

    Raises:
        HubUnreachableError: the Hub does not answer, limits the rate of requests, or offline mode is set.
        ValueError: the Hub refuses, or the cache cannot be written.
    """
    try:
        return call()
    except OfflineModeIsEnabled:
        raise HubUnreachableError(_unreachable(what, cache_dir, "HF_HUB_OFFLINE is set")) from None
    except (HfHubHTTPError, EntryNotFoundError) as error:
        status = status_of(error)
        if status is None or status >= 500 or isinstance(error, LocalEntryNotFoundError):
            reason = f"status {status}" if status else _reason(error.__cause__ or error)
            raise HubUnreachableError(_unreachable(what, cache_dir, reason)) from None
        # A caller that has a cached file need not wait for the end of a rate limit.
        kind = HubUnreachableError if status == 429 else ValueError
        raise kind(_refusal(what, status, error)) from None
    except (TimeoutError, ConnectionError, HTTPError) as error:
        raise HubUnreachableError(_unreachable(what, cache_dir, _reason(error))) from None
    except LocalTokenNotFoundError:
        raise ValueError(
            f"writing {what} must be authorized; there is no token: set HF_TOKEN or run 'hf auth login'"
        ) from None
    except OSError as error:
        folder = cache_folder(cache_dir)
        raise ValueError(
            f"the cache {folder} must be writable and have room for {what}; {error.strerror or error}: "
            "choose another with cache_dir, GATEZOO_CACHE or HF_HOME"
        ) from None
    except ValueError as error:
        raise ValueError(f"{what} was refused: {' '.join(str(error).split())}") from None


def _refusal(what: str, status: int, error: Exception) -> str:
    code = error.response.headers.get("X-Error-Code") if isinstance(error, HfHubHTTPError) else None
    if status == 429:
        return f"the hub limits the rate of requests ({what}): set HF_TOKEN, or try again later"
    if code == "EntryNotFound":
        return f"{what} must be in the repository; it is not: a model folder holds config.json and model.safetensors"
    if code == "RevisionNotFound":
        return f"{what} must name a branch, tag or commit; the repository has none of this name"
    if status in (401, 403, 404):
        return f"{what} must exist and be accessible; the hub answers {status}: check its name and HF_TOKEN"
    return f"{what} was refused by the hub: status {status}, {_reason(error)}"


def _reason(error: BaseException) -> str:
    """Return the first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _unreachable(what: str, cache_dir: str | os.PathLike | None, reason: str) -> str:
    return (
        f"{what} must be in the cache or the hub {constants.ENDPOINT} reachable; {reason}: download it where there is "
        f"a network ('gatezoo weights download', then copy {cache_folder(cache_dir)}), use a copied folder with "
        "local-dir:, or set HF_ENDPOINT to another hub"
    )
