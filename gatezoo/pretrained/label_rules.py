"""Rules of a stored encoding of label files, see :class:`gatezoo.data.label_format.LabelFormat`; they need no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..utils.text import is_plain_text, shorten
from .rules import refuse

# Ids or colors, the largest id, classes, and characters of the suffix.
MAX_IDS, MAX_ID, MAX_CLASSES, MAX_SUFFIX = 1 << 16, 0xFFFFFF, 256, 100


def check_label_format(name: str, content: Any) -> None:
    """Raise ValueError unless a content is a stored encoding.

    It has at most 65536 ids or colors, 256 classes, and the ending of a file's name as its suffix.
    """
    if not isinstance(content, dict):
        refuse(name, "an object", content)
    for key, value in content.items():
        if key not in _FIELDS:
            raise ValueError(f"{name} must have no fields but {', '.join(_FIELDS)}; got {shorten(key)}: remove it")
        what, is_valid = _FIELDS[key]
        if not is_valid(value):
            refuse(f"{key} of {name}", what, value)
    if content.keys() >= {"colors", "color_ids"}:
        raise ValueError(f"{name} must have colors or color_ids; got both: leave one out")
    if "tolerance" in content and "color_ids" not in content:
        raise ValueError(f"{name} must have color_ids with a tolerance; got none: remove it")
    if content.keys() >= {"reduce_zero_label", "ids"}:
        raise ValueError(f"{name} must give ids by reduce_zero_label or by ids; got both: leave one out")


def _is_whole(value: Any, high: int) -> bool:
    return type(value) is int and 0 <= value <= high


def _is_color_table(value: Any, length: int, most: int) -> bool:
    """Return whether a value is a list of different colors, each with as many further numbers as ``length`` allows."""
    return (
        isinstance(value, list)
        and 1 <= len(value) <= most
        and all(isinstance(row, list) and len(row) == length for row in value)
        and all(_is_whole(number, 255) for row in value for number in row[:3])
        and all(_is_whole(number, MAX_ID) for row in value for number in row[3:])
        and len({tuple(row[:3]) for row in value}) == len(value)
    )


def _is_id_map(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and 1 <= len(value) <= MAX_IDS
        and all(isinstance(key, str) and re.fullmatch("0|[1-9][0-9]{0,7}", key) for key in value)
        and all(int(key) <= MAX_ID and _is_whole(k, MAX_CLASSES - 1) for key, k in value.items())
    )


def _is_suffix(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_SUFFIX
        and not re.search(r"[/\\]", value)
        and is_plain_text(value)
    )


# Fields of a stored format: their text in messages, and whether a value fits.
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "colors": (
        f"1 to {MAX_CLASSES} different colors [R, G, B]",
        lambda value: _is_color_table(value, 3, MAX_CLASSES),
    ),
    "color_ids": (
        f"1 to {MAX_IDS} different colors with their id, [R, G, B, ID]",
        lambda value: _is_color_table(value, 4, MAX_IDS),
    ),
    "tolerance": ("a number in 1 .. 255", lambda value: _is_whole(value, 255) and value > 0),
    "reduce_zero_label": ("true if it is there", lambda value: value is True),
    "ids": (f"a class in 0 .. {MAX_CLASSES - 1} for each of 1 to {MAX_IDS} ids", _is_id_map),
    "suffix": (f"the ending of a file's name, of 1 to {MAX_SUFFIX} characters", _is_suffix),
}
