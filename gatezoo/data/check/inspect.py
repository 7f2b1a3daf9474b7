"""Facts about pairs of image and label files (sizes, modes, label values), from reading each file once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...utils.image_bytes import ImageFile, on_disk
from ...utils.images import check_pixels, open_pil, read_pixels
from ..files.labels import INTEGER_MODES, Color, Decoder, gray_levels, pack_colors, unpack_color

# A photograph given as a mask has too many colors to keep them all, and a depth map too many values.
MAX_COLORS, MAX_VALUES = 64, 4096


@dataclass
class FilePair:
    """Facts about an image and its labels.

    Attributes:
        image: image file.
        mask: label file, or None if the image has none.
        errors: reasons why a file cannot be read.
        value_error: reason why the image's values or channels do not suit the network.
        size: (height, width) of the image as displayed.
        dtype: type of the image's numbers, such as "uint8".
        channels: channels of the image, without transparency.
        brightest: largest of its values.
        rotated: whether the image's EXIF orientation turns it by a right angle.
        mask_size: (height, width) of the labels.
        mode, format: mode and format of the label file in Pillow.
        ids: pixels of each value of a one-channel mask; the ``MAX_VALUES`` most frequent.
        palette: of a palette mask, the color of each of these values.
        colors: pixels of each color of a three-channel mask; the ``MAX_COLORS`` most frequent.
        is_gray: whether all three channels of the mask are equal.
    """

    image: Path
    mask: Path | None
    errors: dict[Path, str] = field(default_factory=dict)
    value_error: str = ""
    size: tuple[int, int] | None = None
    dtype: str = ""
    channels: int = 0
    brightest: float = 0.0
    rotated: bool = False
    mask_size: tuple[int, int] | None = None
    mode: str = ""
    format: str | None = None
    ids: Mapping[int, int] = field(default_factory=dict)
    palette: Mapping[int, Color] = field(default_factory=dict)
    colors: Mapping[Color, int] = field(default_factory=dict)
    is_gray: bool = False


def inspect_pair(
    image: Path,
    mask: Path | None,
    in_chans: int | None = None,
    image_max: float | None = None,
    find: Callable[[Path], ImageFile] = on_disk,
) -> FilePair:
    """Read both files completely and return the facts.

    Args:
        image, mask: the two files.
        in_chans, image_max: see :func:`check_pixels`.
        find: function from a path to the file that it stands for.
    """
    pair = FilePair(image, mask)
    try:
        _inspect_image(pair, find(image), in_chans, image_max)
    except ValueError as error:
        pair.errors[image] = _without(image, error)
    try:
        if mask:
            _inspect_mask(pair, find(mask))
    except ValueError as error:
        pair.errors[mask or image] = _without(mask or image, error)
    return pair


def inspect_entry(
    image: Path, key: Path, decode: Decoder, in_chans: int | None = None, image_max: float | None = None
) -> FilePair:
    """Read an image and draw its annotations, and return the facts as of a pair of files.

    Args:
        image: the image file.
        key: what ``decode`` takes.
        decode: function that draws the annotations as classes (H, W).
        in_chans, image_max: see :func:`check_pixels`.
    """
    pair = inspect_pair(image, None, in_chans, image_max)
    pair.mask = key
    if not pair.errors:
        try:
            classes = decode(key)
        except ValueError as error:
            pair.errors[key] = _without(key, error)
        else:
            values, counts = np.unique(classes, return_counts=True)
            pair.ids = dict(zip(values.tolist(), counts.tolist()))
            pair.mask_size, pair.mode = (classes.shape[0], classes.shape[1]), "L"
    return pair


def _without(path: Path, error: ValueError) -> str:
    return str(error).replace(str(path), "this file")


def _inspect_image(pair: FilePair, image: ImageFile, in_chans: int | None, image_max: float | None) -> None:
    """Note the facts about the image."""
    pixels = read_pixels(image)
    height, width, channels = pixels.values.shape
    pair.size, pair.rotated = (height, width), pixels.turned
    pair.dtype, pair.channels = pixels.values.dtype.name, channels - pixels.has_alpha
    pair.brightest = 255.0 if pair.dtype == "uint8" else float(pixels.values.max())
    try:
        check_pixels(pixels, in_chans, image_max, pair.image)
    except ValueError as error:
        pair.value_error = _without(pair.image, error)


def _inspect_mask(pair: FilePair, mask: ImageFile) -> None:
    """Note the facts about the labels."""
    with open_pil(mask, "labels") as file:
        pair.mask_size, pair.mode, pair.format = (file.height, file.width), file.mode, file.format
        if file.mode in INTEGER_MODES:
            levels = gray_levels(file)
            values, counts = np.unique(np.array(levels).astype(np.int64), return_counts=True)
            most_frequent = np.sort(np.argsort(-counts)[:MAX_VALUES])
            pair.ids = {int(values[i]): int(counts[i]) for i in most_frequent}
            if levels is not file:
                pair.palette = {value: (value, value, value) for value in pair.ids}
            elif file.mode == "P":
                indices = Image.fromarray(np.array(list(pair.ids), dtype=np.uint8)[None])
                indices.putpalette(file.getpalette() or [0, 0, 0])
                colors = np.array(indices.convert("RGB"))[0].tolist()
                pair.palette = {value: (red, green, blue) for value, (red, green, blue) in zip(pair.ids, colors)}
        elif file.mode != "F":
            values, counts = np.unique(pack_colors(file), return_counts=True)
            most_frequent = np.argsort(-counts)[:MAX_COLORS]
            pair.colors = {unpack_color(values[i]): int(counts[i]) for i in most_frequent}
            # Gray means R = G = B, of all colors and not only of those kept.
            pair.is_gray = bool(((values >> 16 == values & 255) & (values >> 8 & 255 == values & 255)).all())
