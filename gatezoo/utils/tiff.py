"""Read the TIFF files that Pillow does not: several channels of more than 8 bits, more than four channels, floats."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from .image_bytes import ImageFile, opened
from .optional import require_package

# What tifffile logs about a damaged file would stand beside the line that refuses it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Numbers of the tags in the TIFF standard.
_BITS, _PHOTOMETRIC, _CHANNELS, _SAMPLE_FORMAT = 258, 262, 277, 339
_SIGNED = 2
_WHITE_IS_ZERO = 0


class Tiff(NamedTuple):
    """First image of a TIFF file: values (H, W, C), whether the last channel is transparency, orientation 1 .. 8."""

    values: np.ndarray
    has_alpha: bool
    orientation: int


def is_tiff(start: bytes) -> bool:
    """Return whether a file with these first bytes is a TIFF or BigTIFF."""
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pillow_keeps_values(path: ImageFile) -> bool:
    """Return whether Pillow reads a TIFF with all its channels and bits."""
    try:
        with Image.open(opened(path), formats=("TIFF",)) as image:
            assert isinstance(image, TiffImagePlugin.TiffImageFile)
            tags = image.tag_v2
            channels, bits = tags.get(_CHANNELS, 1), tags.get(_BITS, (1,))
            if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) and max(bits) <= 8:  # which Pillow takes for unsigned
                return False
            # Of 16 bits Pillow keeps one channel, and does not invert it where 0 means white.
            is_simple = channels == 1 and tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO
            return channels == len(image.getbands()) and (is_simple or max(bits) <= 8)
    except Exception:  # a file that Pillow fails at is for tifffile to read
        return False


def read_tiff(path: ImageFile, check_size: Callable[[ImageFile, int, int, int], None]) -> Tiff:
    """Read the first image of a TIFF file by tifffile.

    Args:
        path: the file.
        check_size: called with path, width, height and channels before anything is decoded.

    Raises:
        ValueError: tifffile is not installed, or the file's numbers are not real.
    """
    tifffile = require_package("tifffile", f"{path}, a TIFF of many channels or bits,", "tiff")
    with tifffile.TiffFile(opened(path)) as file:
        page = file.pages[0]
        check_size(path, page.imagewidth, page.imagelength, page.samplesperpixel)
        values = page.asarray()
        if page.photometric == _WHITE_IS_ZERO and values.dtype.kind == "u":
            values = values.dtype.type((1 << page.bitspersample) - 1) - values
        orientation = int(page.tags.valueof("Orientation", 1))
        alpha = [int(kind) for kind in page.extrasamples[-1:]] == [tifffile.EXTRASAMPLE.UNASSALPHA]
    if page.axes not in ("YX", "YXS", "SYX") or values.dtype.kind not in "uif":
        raise ValueError(
            f"a TIFF must hold real numbers in rows, columns and channels; {path} holds {values.dtype} in {page.axes}"
        )
    values = np.moveaxis(values, 0, 2) if page.axes == "SYX" else values.reshape(*values.shape[:2], -1)
    has_alpha = alpha and values.shape[2] in (2, 4)
    return Tiff(values.astype(values.dtype.newbyteorder("="), copy=False), has_alpha, orientation)
