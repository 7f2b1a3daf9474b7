"""Size of an image file, read from its header alone."""

from __future__ import annotations

import os

from PIL import ExifTags, Image

from .images import FORMATS, read_pixels


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Return (height, width) of an image as displayed, after the turn that its EXIF orientation states.

    Raises:
        ValueError: see :func:`~gatezoo.utils.images.read_pixels`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # a file that Pillow cannot read, or does not know: the reader of images tells what is wrong
        height, width = read_pixels(path).values.shape[:2]
        return height, width
