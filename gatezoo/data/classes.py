"""Classes and ids as a user gives them: a class list in a file, with colors if wanted, and a mapping of ids."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..utils.text import require_plain_text, shorten
from .files.labels import Color, ColorTable

ClassList = tuple[tuple[str, ...], tuple[Color, ...] | None]
ColorCodes = tuple[Color, ...] | ColorTable

MAX_CLASSES = 256

# Name of a line whose colors do not count, in a list with colors.
IGNORED_LINE = "ignore"

_HEX = re.compile("#([0-9A-Fa-f]{6})")
# Characters of a name, and digits of a number, that a message shows.
_MAX_SHOWN = 60


def read_classes(path: str | os.PathLike) -> ClassList:
    """Read the names of the classes, in the order of the labels, and their colors or None.

    A line is ``name``, ``name R G B``, or ``name #RRGGBB``; empty lines and lines that begin with # are skipped. Either
    all lines have a color or none. Names are of any script; only spaces and tabs around them are cut off. Of a class
    with several colors this is the first: see :func:`read_color_table`.

    Raises:
        ValueError: no such file, no classes, a name that is repeated or does not print, an invalid or repeated color,
            colors on some lines only.
    """
    colors_of = _read_lines(Path(path))
    if any(colors_of.values()):
        colors_of.pop(IGNORED_LINE, None)
    if not colors_of:
        raise ValueError(f"a class list must name a class on each line; {path} names none")
    check_class_list(tuple(colors_of), str(path))
    colors = tuple(colors[0] for colors in colors_of.values() if colors)
    return tuple(colors_of), colors or None


def read_color_table(path: str | os.PathLike, ignore_index: int, tolerance: int = 0) -> ColorCodes | None:
    """Read what the colors of label files mean from a class list; None for a list without colors.

    A class has several colors if its name is on several lines, or if a line has several of the form #RRGGBB. Colors on
    the line "ignore" do not count.

    Args:
        path: see :func:`read_classes`.
        ignore_index: id of the colors that do not count.
        tolerance: see :class:`~gatezoo.data.files.labels.ColorTable`.

    Returns:
        The color of each class in order or, if that does not say it all, the class of each color.
    """
    colors_of = _read_lines(Path(path))
    if not any(colors_of.values()):
        return None
    ignored = colors_of.pop(IGNORED_LINE, [])
    if not ignored and not tolerance and all(len(colors) == 1 for colors in colors_of.values()):
        return tuple(colors[0] for colors in colors_of.values())
    table = {color: k for k, colors in enumerate(colors_of.values()) for color in colors}
    return ColorTable(table | dict.fromkeys(ignored, ignore_index), tolerance)


def _read_lines(path: Path) -> dict[str, list[Color]]:
    """Return the colors of each name of a class list, in order.

    Raises:
        ValueError: see :func:`read_classes`.
    """
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
    pairs = [_split_colors(line) for line in lines]
    if not any(colors for _, colors in pairs):
        check_class_list([name for name, _ in pairs], str(path))
        return {name: [] for name, _ in pairs}
    counts = Counter(color for _, colors in pairs for color in colors)
    found: dict[str, list[Color]] = {}
    for name, colors in pairs:
        if not colors:
            raise ValueError(
                f"either all classes or none must have a color NAME R G B; in {path} {name[:_MAX_SHOWN]!r} has none"
            )
        for color in colors:
            if max(color) > 255 or counts[color] > 1:
                raise ValueError(
                    f"colors must be different and in 0 .. 255; in {path} {name[:_MAX_SHOWN]!r} has {color}"
                )
        found.setdefault(name, []).extend(colors)
    return found


def _split_colors(line: str) -> tuple[str, list[Color]]:
    """Split "NAME R G B", with spaces or commas, or "NAME #RRGGBB ..." into name and colors; else a line is a name."""
    colors: list[Color] = []
    rest = line
    while len(words := rest.rsplit(None, 1)) == 2 and (match := _HEX.fullmatch(words[1])):
        red, green, blue = bytes.fromhex(match[1])
        colors.insert(0, (red, green, blue))
        rest = words[0].rstrip(" \t,")
    if colors:
        return rest, colors
    words = line.replace(",", " ").rsplit(None, 3)
    if len(words) < 4 or not all(map(str.isdecimal, words[1:])) or not line.endswith(words[3]):
        return line, []
    # No color has that many digits, and Python refuses to convert thousands of them.
    red, green, blue = (int(word[:_MAX_SHOWN]) for word in words[1:])
    return line[: len(words[0])], [(red, green, blue)]


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


def color_codes(text: str, ignore_index: int, tolerance: int = 0) -> ColorCodes | None:
    """Return what the colors of label files mean: see :func:`read_color_table`; None for classes without colors.

    Args:
        text: a class list as :func:`class_names` takes it.
        ignore_index, tolerance: see :func:`read_color_table`.
    """
    if os.path.isfile(text):
        return read_color_table(text, ignore_index, tolerance)
    colors = parse_classes(text)[1]
    return ColorTable({color: k for k, color in enumerate(colors)}, tolerance) if colors and tolerance else colors


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
