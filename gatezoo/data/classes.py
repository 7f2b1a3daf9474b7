"""Classes and ids as a user gives them: a class list in a file, with colors if wanted, and a mapping of ids."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .files.labels import Color

ClassList = tuple[tuple[str, ...], tuple[Color, ...] | None]

_NAME_AND_COLOR = re.compile(r"^(.+?)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+)$")


def read_classes(path: str | os.PathLike) -> ClassList:
    """Read the names of the classes, in the order of the labels, and their colors or None.

    A line is ``name`` or ``name R G B``; empty lines and lines that begin with # are skipped. Either all lines have a
    color or none.

    Raises:
        ValueError: no such file, no classes, a repeated name, an invalid or repeated color, colors on some lines only.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a class list must be a text file with one class a line; there is none at {path}")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"a class list must name a class on each line; {path} names none")
    matches = [_NAME_AND_COLOR.match(line) for line in lines]
    names = tuple(match[1] if match else line for match, line in zip(matches, lines))
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"class names must differ; {path} has {repeated[0]!r} {names.count(repeated[0])} times")
    colored = [match for match in matches if match]
    if not colored:
        return names, None
    if len(colored) < len(lines):
        first = lines[matches.index(None)]
        raise ValueError(f"either all classes or none must have a color NAME R G B; in {path} {first!r} has none")
    colors = tuple((int(match[2]), int(match[3]), int(match[4])) for match in colored)
    for name, color in zip(names, colors):
        if max(color) > 255 or colors.count(color) > 1:
            raise ValueError(f"colors must be different and in 0 .. 255; in {path} {name!r} has {color}")
    return names, colors


def class_names(text: str) -> ClassList:
    """Return the names and, where they are known, the colors of classes.

    Args:
        text: a file (see :func:`read_classes`), "sky,road,...", or "camvid".

    Raises:
        ValueError: see :func:`read_classes`; empty or repeated names.
    """
    if text == "camvid":
        from .datasets.camvid import CLASSES, PALETTE

        return CLASSES, PALETTE
    if "," not in text:
        return read_classes(text)
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"classes must have names, all different; got {text!r}")
    return names, None


def parse_classes(text: str | None) -> tuple[int | tuple[str, ...] | None, tuple[Color, ...] | None]:
    """Return the number or the names of classes, and their colors, from an option.

    Args:
        text: a number, or an argument of :func:`class_names`; None gives (None, None).
    """
    if text is None or text.isdecimal():
        return (None if text is None else int(text)), None
    return class_names(text)


def parse_ids(pairs: Sequence[str]) -> dict[int, int] | None:
    """Parse the values of ``--label-map``: ["0=0", "255=1"] -> {0: 0, 255: 1}, [] -> None.

    Raises:
        ValueError: a value that is not ID=CLASS.
    """
    try:
        split = [pair.split("=") for pair in pairs]
        return {int(label_id): int(k) for label_id, k in split} or None
    except ValueError:
        raise ValueError(f"--label-map must be ID=CLASS, such as 255=1; got {' '.join(pairs)}") from None
