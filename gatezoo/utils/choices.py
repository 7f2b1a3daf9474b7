"""Picking one of several things by name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def check_choice(what: str, value: str, choices: Iterable[str]) -> str:
    """``value``, which must be one of ``choices``: else a ValueError that suggests the nearest."""
    choices = list(choices)
    if value not in choices:
        near = get_close_matches(str(value), choices, n=1)
        hint = f". Did you mean {near[0]}?" if near else ""
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {value!r}{hint}")
    return value
