"""Check names and suggest similar ones."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from .text import first_values, shorten

# Characters of a list of choices in a message; of a longer one the first and the last are shown.
_MAX_LISTED = 250


def suggest(word: str, words: Iterable[str]) -> str:
    """Return ``". Did you mean a, b or c?"`` with up to three similar words, or an empty string."""
    near = get_close_matches(str(word), list(words), n=3)
    if not near:
        return ""
    *others, last = near
    return f". Did you mean {', '.join(others) + ' or ' if others else ''}{last}?"


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: it is not; the message lists the choices, if they are not too many, and suggests similar ones.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(choices)
        if len(listed) > _MAX_LISTED:
            listed = first_values(choices)
        raise ValueError(f"{name} must be one of {listed}; got {shorten(value)}{suggest(value, choices)}")
    return value


def check_fields(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check the keys of a mapping.

    Args:
        kind: the mapping, with an article, for the message: ``"a recipe"``.
        given: its keys.
        known: the keys it may have.

    Raises:
        ValueError: an unknown key; the message lists the known ones and suggests similar ones.
    """
    known = list(known)
    for key in given:
        check_choice(f"fields of {kind}", key, known)
