"""What a pair of image and label file holds, told without judging it: each file is read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ..files.labels import INTEGER_MODES, Colour, unpacked

# Of a photograph taken for a mask, all colours are not worth remembering.
_MOST_COLOURS = 64


@dataclass
class FilePair:
    """A pair of files.

    Attributes:
        image, mask: files; either may be None where the other stands alone.
        errors: why one of them cannot be read.
        size: (height, width) of the image, as it is shown.
        turned: the image has a note to turn it by a right angle.
        mask_size: (height, width) of the labels.
        mode, format: of the labels, in Pillow's words.
        ids: pixels of each value, of a mask with one channel.
        colours: pixels of each colour, of a mask with three; the most frequent.
        grey: all three channels of the mask are equal.
    """

    image: Path | None
    mask: Path | None
    errors: dict[Path, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    turned: bool = False
    mask_size: tuple[int, int] | None = None
    mode: str = ""
    format: str | None = None
    ids: dict[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    grey: bool = False


def inspect_pair(image: Path | None, mask: Path | None) -> FilePair:
    """Read both files whole."""
    seen = FilePair(image, mask)
    if image and (file := _loaded(image, seen)):
        seen.turned = file.info["orientation"] >= 5
        seen.size = file.size if seen.turned else file.size[::-1]
    if mask and (file := _loaded(mask, seen)):
        seen.mask_size, seen.mode, seen.format = file.size[::-1], file.mode, file.format
        if file.mode in INTEGER_MODES:
            values, counts = np.unique(np.array(file).astype(np.int64), return_counts=True)
            seen.ids = dict(zip(values.tolist(), counts.tolist()))
        else:
            red, green, blue = np.moveaxis(np.array(file.convert("RGB")).astype(np.int32), 2, 0)
            seen.grey = bool((red == green).all() and (green == blue).all())
            values, counts = np.unique(red << 16 | green << 8 | blue, return_counts=True)
            order = np.argsort(-counts)[:_MOST_COLOURS]
            seen.colours = {unpacked(values[i]): int(counts[i]) for i in order}
    return seen


def _loaded(path: Path, seen: FilePair) -> Image.Image | None:
    try:
        with Image.open(path) as file:
            file.load()
            file.info["orientation"] = file.getexif().get(ExifTags.Base.Orientation, 1)  # of a TIFF not once closed
        return file
    except UnidentifiedImageError:
        seen.errors[path] = "it is in no format that Pillow reads"
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        seen.errors[path] = f"it cannot be read: {error}"
    return None
