"""Colors of classes."""

from __future__ import annotations

from collections.abc import Sequence

Palette = Sequence[tuple[int, int, int]]


def voc_palette(num_classes: int) -> list[tuple[int, int, int]]:
    """The PASCAL VOC colours: the bits of the class number, dealt in turn to red, green and blue, highest first."""
    colours = []
    for number in range(num_classes):
        bits = [sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8)) for channel in range(3)]
        colours.append(tuple(bits))
    return colours
