"""Classes and ids as a user gives them: a class list in a file, with colors if wanted, and a mapping of ids."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..utils.text import require_plain_text, shorten
from .files.labels import Color

ClassList = tuple[tuple[str, ...], tuple[Color, ...] | None]

MAX_CLASSES = 256

# Characters of a name, and digits of a number, that a message shows.
_MAX_SHOWN = 60


def read_classes(path: str | os.PathLike) -> ClassList:
    """Read the names of the classes, in the order of the labels, and their colors or None.

    A line is ``name`` or ``name R G B``; empty lines and lines that begin with # are skipped. Either all lines have a
    color or none. Names are of any script; only spaces and tabs around them are cut off.

    Raises:
        ValueError: no such file, no classes, a name that is repeated or does not print, an invalid or repeated color,
            colors on some lines only.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise ValueError(f"a class list must be a text file with one class a line; there is none at {path}")
    try:
        # splitlines() would also cut at control characters, which are to be refused.
        lines = [line.strip(" \t") for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"a class list must be a text file in UTF-8; {path} cannot be read: {error}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"a class list must name a class on each line; {path} names none")
    pairs = [_split_color(line) for line in lines]
    names = tuple(name for name, _ in pairs)
    colors = [color for _, color in pairs if color]
    if not colors:
        check_class_list(names, str(path))
        return names, None
    if len(colors) < len(names):
        first = next(name for name, color in pairs if color is None)
        raise ValueError(
            f"either all classes or none must have a color NAME R G B; in {path} {first[:_MAX_SHOWN]!r} has none"
        )
    counts = Counter(colors)
    for name, color in zip(names, colors):
        if max(color) > 255 or counts[color] > 1:
            raise ValueError(f"colors must be different and in 0 .. 255; in {path} {name[:_MAX_SHOWN]!r} has {color}")
    check_class_list(names, str(path))
    return names, tuple(colors)


def _split_color(line: str) -> tuple[str, Color | None]:
    """Split "NAME R G B", with spaces or commas, into name and color; a line without a color is a name."""
    words = line.replace(",", " ").rsplit(None, 3)
    if len(words) < 4 or not all(map(str.isdecimal, words[1:])) or not line.endswith(words[3]):
        return line, None
    # No color has that many digits, and Python refuses to convert thousands of them.
    red, green, blue = (int(word[:_MAX_SHOWN]) for word in words[1:])
    return line[: len(words[0])], (red, green, blue)


def class_names(text: str) -> ClassList:
    """Return the names and, where they are known, the colors of classes.

    Args:
        text: a file (see :func:`read_classes`), "sky,road,...", "camvid", or a number: "3" names them "0", "1", "2".

    Raises:
        ValueError: see :func:`read_classes` and :func:`check_class_list`; a number beyond 1 .. 256.
    """
    if text == "camvid":
        from .datasets.camvid import CLASSES, PALETTE

        return CLASSES, PALETTE
    if text.isdecimal():
        return tuple(map(str, range(_parse_count(text)))), None
    if "," not in text:
        return read_classes(text)
    names = tuple(name.strip(" ") for name in text.split(","))
    check_class_list(names)
    return names, None


def check_class_list(names: Sequence[str], source: str = "the list") -> None:
    """Check the names of classes.

    Args:
        names: in the order of the labels.
        source: where they come from, for messages.

    Raises:
        ValueError: a name that is empty, repeated, or has control characters or marks that turn the direction of text.
    """
    require_plain_text("class names", names)
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise ValueError(f"class names must differ; {source} has {name[:_MAX_SHOWN]!r} {count} times")
    if blank := [name for name in names if not name.strip()]:
        raise ValueError(f"class names must not be empty; {source} has {blank[0]!r}: name the class")


def _parse_count(text: str) -> int:
    """Return a number of classes; Python takes long to read one of thousands of digits."""
    if len(text) > 9 or not 1 <= int(text) <= MAX_CLASSES:
        raise ValueError(f"the number of classes must be in 1 .. {MAX_CLASSES}; got {shorten(text)}")
    return int(text)


def parse_classes(text: str | None) -> tuple[int | tuple[str, ...] | None, tuple[Color, ...] | None]:
    """Return the number or the names of classes, and their colors, from an option.

    Args:
        text: a number, or an argument of :func:`class_names`; None gives (None, None).
    """
    if text is None or text.isdecimal():
        return (None if text is None else _parse_count(text)), None
    return class_names(text)


def parse_ids(pairs: Sequence[str]) -> dict[int, int] | None:
    """Parse the values of ``--label-map``: ["0=0", "255=1"] -> {0: 0, 255: 1}, [] -> None.

    Raises:
        ValueError: a value that is not ID=CLASS, or an id twice.
    """
    try:
        split = [pair.split("=") for pair in pairs]
        ids = {int(label_id): int(k) for label_id, k in split}
    except ValueError:
        raise ValueError(f"--label-map must be ID=CLASS, such as 255=1; got {' '.join(pairs)}") from None
    if len(ids) < len(pairs):
        raise ValueError(f"--label-map must be given once for each id; got {' '.join(pairs)}: leave one out")
    return ids or None
