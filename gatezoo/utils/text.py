"""Text for messages."""

from __future__ import annotations

from collections.abc import Iterable


def first_values(values: Iterable[object], limit: int = 8) -> str:
    """Return the first values and, if there are more than ``limit``, the last: "0, 1, 2 ... 9" for a limit of 3."""
    texts = [str(value) for value in values]
    return ", ".join(texts[:limit]) + (f" ... {texts[-1]}" if len(texts) > limit else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def shorten(value: object, limit: int = 60) -> str:
    """Return a value as Python writes it, cut to a number of characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
