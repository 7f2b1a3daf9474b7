"""Colors of classes."""

from __future__ import annotations

from collections.abc import Sequence

Color = tuple[int, int, int]
Palette = Sequence[Color]


def voc_palette(num_classes: int) -> list[Color]:
    """Return the PASCAL VOC colors: the class number's bits, dealt in turn to red, green and blue, highest first."""

    def channel(number: int, offset: int) -> int:
        return sum((number >> (3 * place + offset) & 1) << (7 - place) for place in range(8))

    return [(channel(number, 0), channel(number, 1), channel(number, 2)) for number in range(num_classes)]
