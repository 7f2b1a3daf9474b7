"""Turn errors of the Hub, of https servers and of the cache into one line with a suggested fix."""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from .cache import cache_folder

T = TypeVar("T")

# The base class of HTTP errors in the HTTP library that the installed client uses.
HTTPError = cast("type[Exception]", HfHubHTTPError.__bases__[0])

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class HubError(ValueError):
    """A request or its answer is refused; the message is complete."""


class HubUnreachableError(HubError):
    """The Hub does not answer, or may not be asked."""


class SlowBodyError(TimeoutError):
    """A body comes too slowly to wait for it."""


class StatusError(Exception):
    """An answer whose status is no success.

    Attributes:
        status: of HTTP.
        code: the Hub's name of the error, or None.
        message: of the Hub, or the name of the status.
        retry_after: seconds that the server asks to wait, or None.
    """

    def __init__(self, status: int, headers: Mapping[str, str], message: str):
        super().__init__(f"status {status}")
        self.status, self.code = status, headers.get("X-Error-Code")
        self.message = headers.get("X-Error-Message") or message
        self.retry_after = retry_after(headers)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After`` (a number or a date), else those of the Hub's ``ratelimit``; or None."""
    value = headers.get("Retry-After") or "".join(re.findall(r"t=(\d+)", headers.get("ratelimit", ""))[:1])
    if re.fullmatch(r"[0-9]+", value.strip()):
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def status_error(error: Exception) -> StatusError | None:
    """Return the refusal that an error of this package or of the Hub's client is; None for other errors."""
    if isinstance(error, HfHubHTTPError):
        return StatusError(error.response.status_code, error.response.headers, _reason(error))
    return error if isinstance(error, StatusError) else None


def check_repo(repo: str) -> None:
    """Raise ValueError unless ``repo`` is ``org/name``."""
    if not REPO.fullmatch(repo) or ".." in repo:
        raise ValueError(f"a repository must be org/name; got {repo!r}: give both")


class HubDownload:
    """Messages of a download from the Hub.

    Args:
        what: the file.
        cache_dir: as given by the user.
    """

    server = "the hub"
    # By the Hub's name of an error.
    codes: Mapping[str, str] = {
        "EntryNotFound": "must be in the repository; it is not: a model folder holds config.json and model.safetensors",
        "RevisionNotFound": "must name a branch, tag or commit; the repository has none of this name",
    }

    def __init__(self, what: str, cache_dir: str | os.PathLike | None):
        self.what, self.folder = what, cache_folder(cache_dir)

    def unreachable(self, reason: str) -> str:
        """Return the message of a server that does not answer."""
        return (
            f"{self.what} must be in the cache or the hub {constants.ENDPOINT} reachable; {reason}: download it where "
            f"there is a network ('gatezoo weights download', then copy {self.folder}), use a copied folder with "
            "local-dir:, or set HF_ENDPOINT to another hub"
        )

    def denied(self, status: int) -> str:
        """Return the message of a file that does not exist or is not for this user."""
        return f"{self.what} must exist and be accessible; the hub answers {status}: check its name and HF_TOKEN"

    def not_writable(self, reason: str) -> str:
        """Return the message of a local folder that cannot be written."""
        return (
            f"the cache {self.folder} must be writable and have room for {self.what}; {reason}: choose another with "
            "cache_dir, GATEZOO_CACHE or HF_HOME"
        )


class WebDownload(HubDownload):
    """Messages of a download from an https address."""

    server = "the server"
    codes: Mapping[str, str] = {}

    def unreachable(self, reason: str) -> str:
        """Return the message of a server that does not answer."""
        return (
            f"{self.what} must be in the cache or reachable; {reason}: download it where there is a network "
            f"('gatezoo weights download', then copy {self.folder}), or use a copied folder with local-dir:"
        )

    def denied(self, status: int) -> str:
        """Return the message of a file that does not exist or is not for everyone."""
        return self.unreachable(f"status {status}")


class Upload(HubDownload):
    """Messages of an upload to the Hub."""

    def unreachable(self, reason: str) -> str:
        """Return the message of a server that does not answer."""
        return (
            f"the hub {constants.ENDPOINT} must be reachable for the upload of {self.what}; {reason}: try again where "
            "there is a network, or set HF_ENDPOINT to another hub"
        )

    def denied(self, status: int) -> str:
        """Return the message of a repository that this user may not write."""
        return (
            f"the token must allow writing {self.what}; the hub answers {status}: check the name, and set HF_TOKEN to "
            "a token with write access or run 'hf auth login'"
        )

    def not_writable(self, reason: str) -> str:
        """Return the message of a local folder that cannot be read."""
        return f"the folder to upload to {self.what} must be readable; {reason}: check its files"


def translate_errors(call: Callable[[], T], messages: HubDownload) -> T:
    """Run ``call`` and turn the errors of network, Hub and disk into a one-line ValueError with a suggested fix.

    Raises:
        HubUnreachableError: the server does not answer, limits the rate of requests, or offline mode is set.
        HubError: it refuses, or the disk cannot be written.
    """
    try:
        return call()
    except HubError:
        raise
    except OfflineModeIsEnabled:
        raise HubUnreachableError(messages.unreachable("HF_HUB_OFFLINE is set")) from None
    except (StatusError, TimeoutError, ConnectionError, HTTPError) as error:
        if refusal := status_error(error):
            raise _explain_status(refusal, messages) from None
        raise HubUnreachableError(messages.unreachable(_reason(error))) from None
    except LocalTokenNotFoundError:
        raise HubError(no_token(messages.what)) from None
    except OSError as error:
        raise HubError(messages.not_writable(error.strerror or str(error))) from None
    except ValueError as error:
        raise HubError(f"{messages.what} was refused: {' '.join(str(error).split())}") from None


def no_token(what: str) -> str:
    """Return the message of an upload without a token."""
    return f"an upload to {what} must be authorized; there is no token: set HF_TOKEN or run 'hf auth login'"


def _explain_status(error: StatusError, messages: HubDownload) -> HubError:
    what, status, server = messages.what, error.status, messages.server
    wait = "" if error.retry_after is None else f"{server} asks to wait {error.retry_after:.0f} s"
    if status == 429:
        # A caller that has a cached file need not wait for the end of a rate limit.
        limit = f"{wait or server + ' limits the rate of requests'}: {what} was requested too often"
        return HubUnreachableError(f"{limit}; set HF_TOKEN, or try again later")
    if status >= 500:
        return HubUnreachableError(messages.unreachable(", ".join(filter(None, [f"status {status}", wait]))))
    if error.code and error.code in messages.codes:
        return HubError(f"{what} {messages.codes[error.code]}")
    if status in (401, 403, 404):
        return HubError(messages.denied(status))
    return HubError(f"{what} was refused by {server}: status {status}, {' '.join(error.message.split())[:200]}")


def _reason(error: BaseException) -> str:
    """Return the first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
