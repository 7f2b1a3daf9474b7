"""Text for messages."""

from __future__ import annotations

from collections.abc import Iterable


def first_values(values: Iterable[object], limit: int = 8) -> str:
    """Return the first values and, if there are more than ``limit``, the last: "0, 1, 2 ... 9" for a limit of 3."""
    texts = [str(value) for value in values]
    return ", ".join(texts[:limit]) + (f" ... {texts[-1]}" if len(texts) > limit else "")
