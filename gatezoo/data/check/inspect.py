"""Facts about pairs of image and label files (sizes, modes, label values), from reading each file once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ...utils.images import open_pil
from ..files.labels import INTEGER_MODES, Color, pack_colors, unpack_color

# A photograph given as a mask has too many colors to keep them all.
MAX_COLORS = 64


@dataclass
class FilePair:
    """Facts about an image and its labels.

    Attributes:
        image: image file.
        mask: label file, or None if the image has none.
        errors: reasons why a file cannot be read.
        size: (height, width) of the image as displayed.
        rotated: whether the image's EXIF orientation turns it by a right angle.
        mask_size: (height, width) of the labels.
        mode, format: mode and format of the label file in Pillow.
        ids: pixels of each value of a one-channel mask.
        colors: pixels of each color of a three-channel mask; the ``MAX_COLORS`` most frequent.
        is_gray: whether all three channels of the mask are equal.
    """

    image: Path
    mask: Path | None
    errors: dict[Path, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    rotated: bool = False
    mask_size: tuple[int, int] | None = None
    mode: str = ""
    format: str | None = None
    ids: Mapping[int, int] = field(default_factory=dict)
    colors: Mapping[Color, int] = field(default_factory=dict)
    is_gray: bool = False


def inspect_pair(image: Path, mask: Path | None) -> FilePair:
    """Read both files completely and return the facts."""
    pair = FilePair(image, mask)
    if file := _load(image, "an image", pair):
        pair.rotated = file.info["orientation"] >= 5
        pair.size = (file.width, file.height) if pair.rotated else (file.height, file.width)
    if mask and (file := _load(mask, "labels", pair)):
        pair.mask_size, pair.mode, pair.format = (file.height, file.width), file.mode, file.format
        if file.mode in INTEGER_MODES:
            values, counts = np.unique(np.array(file).astype(np.int64), return_counts=True)
            pair.ids = dict(zip(values.tolist(), counts.tolist()))
        else:
            values, counts = np.unique(pack_colors(file), return_counts=True)
            most_frequent = np.argsort(-counts)[:MAX_COLORS]
            pair.colors = {unpack_color(values[i]): int(counts[i]) for i in most_frequent}
            # Gray means R = G = B, of all colors and not only of those kept.
            pair.is_gray = bool(((values >> 16 == values & 255) & (values >> 8 & 255 == values & 255)).all())
    return pair


def _load(path: Path, what: str, pair: FilePair) -> Image.Image | None:
    """Load a file, or note in the pair why it cannot be read."""
    try:
        with open_pil(path, what) as file:
            # While the file is open: Pillow reads the EXIF data of a TIFF from disk.
            file.info["orientation"] = file.getexif().get(ExifTags.Base.Orientation, 1)
        return file
    except ValueError as error:
        pair.errors[path] = str(error).replace(str(path), "this file")
    return None
