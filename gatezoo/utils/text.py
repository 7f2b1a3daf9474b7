"""Text for messages, and text that is safe to store and to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Characters of a stored text.
MAX_TEXT = 10_000
# Format characters that belong to words and emoji; all others, such as those that turn the direction, do not print.
_JOINERS = "\u200c\u200d"


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


def is_plain_text(text: str) -> bool:
    """Return whether a text has no control characters and no unusual length: names of all scripts, spaces, emoji."""
    return len(text) <= MAX_TEXT and all(
        char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs" for char in text
    )


def require_plain_text(what: str, texts: Iterable[str]) -> None:
    """Raise ValueError, naming what they are, unless all texts can be stored and printed."""
    for text in texts:
        if not is_plain_text(text):
            raise ValueError(
                f"{what} must be printable, without tabs, and have at most {MAX_TEXT} characters; got "
                f"{shorten(text)}: rename it"
            )
