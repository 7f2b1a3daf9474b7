"""Rules of the data check about all files together: depth, channels and brightness of images, palettes of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...utils.images import DEFAULT_IMAGE_MAX
from ..files.labels import Color
from .inspect import FilePair
from .report import Issue

# Share of full brightness that at least one image of a folder must exceed: a quarter is what 14 bits of 16 reach.
MIN_BRIGHTNESS = 0.26


def check_images(pairs: Sequence[FilePair], folder: Path, image_max: float | None) -> list[Issue]:
    """Return the issues of the images taken together.

    Args:
        pairs: the facts about the files.
        folder: that of the images.
        image_max: value of full brightness; None: that of the type of the files' numbers.
    """
    issues = []
    readable = [pair for pair in pairs if pair.dtype]
    by_dtype: dict[str, list[FilePair]] = {}
    by_channels: dict[int, list[FilePair]] = {}
    for pair in readable:
        by_dtype.setdefault(pair.dtype, []).append(pair)
        by_channels.setdefault(pair.channels, []).append(pair)
    if len(by_dtype) > 1:
        shown = ", ".join(f"{len(some)} are {dtype} ({some[0].image.name})" for dtype, some in by_dtype.items())
        issues.append(Issue("depths", folder, f"images must have the same bit depth; {shown}: convert them"))
    if len(by_channels) > 1 and by_channels.keys() != {1, 3}:
        shown = ", ".join(f"{len(some)} have {count} ({some[0].image.name})" for count, some in by_channels.items())
        issues.append(Issue("channels", folder, f"images must have as many channels as one another; {shown}"))
    for dtype, some in by_dtype.items():
        full = image_max or DEFAULT_IMAGE_MAX.get(dtype)
        brightest = max(pair.brightest for pair in some)
        if dtype != "uint8" and full and 0 <= brightest < MIN_BRIGHTNESS * full:
            message = (
                f"images are dark: the largest value of the {len(some)} {dtype} images is {brightest:g}, full "
                f"brightness {full:g}: pass --image-max, such as {brightest:g}, if that is not meant"
            )
            issues.append(Issue("dark", folder, message, fatal=False))
    return issues


def check_palettes(pairs: Sequence[FilePair], folder: Path) -> list[Issue]:
    """Return a warning if an index has another color in one palette image of labels than in another.

    Labels saved as palette images by a drawing program may number their colors anew in each file.

    Args:
        pairs: the facts about the files.
        folder: that of the labels.
    """
    known: dict[int, tuple[Color, Path]] = {}
    differing = []
    for pair in pairs:
        for index, color in pair.palette.items():
            assert pair.mask is not None
            first, file = known.setdefault(index, (color, pair.mask))
            if color != first:
                differing.append((index, first, file.name, color, pair.mask.name))
                break
    if not differing:
        return []
    index, first, name, color, other = differing[0]
    message = (
        f"palettes differ, in {len(differing)} files: index {index} is {first} in {name}, {color} in {other}: pass "
        "--rgb and a class list with lines NAME R G B if the colors tell the classes; else the palettes do not matter"
    )
    return [Issue("palettes", folder, message, fatal=False)]
