"""How a user tells the classes: a list in a file, one name a line with its colour if it has one; ids of labels."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .files.labels import Colour

_COLOURED = re.compile(r"^(.+?)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+)$")


def read_classes(path: str | os.PathLike) -> tuple[tuple[str, ...], tuple[Colour, ...] | None]:
    """Names of the classes, in the order of the labels, and their colours or None.

    A line is ``name`` or ``name R G B``; empty lines and lines that begin with # are left out. Either all lines have
    a colour or none.

    Raises:
        ValueError: no such file, no classes, one name twice, a colour that is none, colours for some lines only.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a class list must be a text file with one class a line; there is none at {path}")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"a class list must name a class on each line; {path} names none")
    found = [_COLOURED.match(line) for line in lines]
    names = tuple(match[1] if match else line for match, line in zip(found, lines))
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise ValueError(f"the names of classes must differ; {path} has {double[0]!r} {names.count(double[0])} times")
    if not any(found):
        return names, None
    if not all(found):
        bare = lines[found.index(None)]
        raise ValueError(f"either all classes or none must have a colour NAME R G B; in {path} {bare!r} has none")
    colours = tuple(tuple(int(part) for part in match.groups()[1:]) for match in found)
    for name, colour in zip(names, colours):
        if max(colour) > 255 or colours.count(colour) > 1:
            raise ValueError(f"colours must be different and of 0 .. 255; in {path} {name!r} has {colour}")
    return names, colours


def class_names(told: str) -> tuple[tuple[str, ...], tuple[Colour, ...] | None]:
    """Names and, where they are known, colours of the classes.

    Args:
        told: a file (see :func:`read_classes`), "sky,road,...", or "camvid".
    """
    if told == "camvid":
        from .datasets.camvid import CLASSES, PALETTE

        return CLASSES, PALETTE
    if "," not in told:
        return read_classes(told)
    names = tuple(name.strip() for name in told.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"classes must have names, all different; got {told!r}")
    return names, None


def parse_classes(text: str | None) -> tuple[int | tuple[str, ...] | None, tuple[Colour, ...] | None]:
    """A number of classes or what :func:`class_names` takes -> (number or names, colours)."""
    if text is None or text.isdecimal():
        return (None if text is None else int(text)), None
    return class_names(text)


def parse_ids(pairs: Sequence[str]) -> dict[int, int] | None:
    """["0=0", "255=1"] -> {0: 0, 255: 1}; None where nothing was told."""
    try:
        split = [pair.split("=") for pair in pairs]
        return {int(number): int(value) for number, value in split} or None
    except ValueError:
        raise ValueError(f"ids must be told as ID=CLASS, such as 255=1; got {' '.join(pairs)}") from None
