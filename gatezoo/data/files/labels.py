"""Decoders of label files: a path in, an array (H, W) of ids out. Which id is which class is said elsewhere.

All of them can be sent to the worker processes of a loader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

Decoder = Callable[[Path], np.ndarray]
Colour = tuple[int, int, int]

INTEGER_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def open_raster(path: Path, what: str = "labels") -> Image.Image:
    """A image file that stands for numbers, loaded whole.

    Raises:
        ValueError: there is no such file, it is no image, it is cut short, or it is a JPEG, which changes numbers.
    """
    try:
        with Image.open(path) as file:
            file.load()
    except FileNotFoundError:
        raise ValueError(f"{what} must be a file; there is none at {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"{what} must be in a format that Pillow reads; {path} is not") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the file {path} cannot be read: {error}") from None
    if file.format == "JPEG":
        raise ValueError(f"{what} must be in a lossless format; {path} is a JPEG, which changes them: save as PNG")
    return file


def index_png(path: Path) -> np.ndarray:
    """Pixel values of a one-channel image of 8 bits or 1; of a palette image the indices, not the colours."""
    file = open_raster(path)
    if file.mode not in ("1", "L", "P"):
        raise ValueError(f"labels must be an index PNG (mode L or P); {path} has mode {file.mode}")
    return np.array(file).astype(np.uint8, copy=False)


def instance_png(path: Path) -> np.ndarray:
    """Pixel values of a one-channel image of up to 16 bits, as int32."""
    file = open_raster(path)
    if file.mode not in INTEGER_MODES:
        raise ValueError(f"instance labels must be one channel of whole numbers; {path} has mode {file.mode}")
    return np.array(file).astype(np.int32)


def foreground_png(path: Path) -> np.ndarray:
    """Instances merged: 1 where there is one, else 0."""
    return (instance_png(path) > 0).astype(np.uint8)


def packed_colours(path: Path) -> np.ndarray:
    """Colours of an RGB image as numbers, R 65536 + G 256 + B, int32 (H, W)."""
    file = open_raster(path)
    if file.mode not in ("RGB", "RGBA"):
        raise ValueError(f"colour-coded labels must be an RGB image; {path} has mode {file.mode}")
    red, green, blue = np.moveaxis(np.array(file.convert("RGB")).astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def unpacked(colour: int) -> Colour:
    """The opposite of the packing in :func:`packed_colours`."""
    return int(colour) >> 16, int(colour) >> 8 & 255, int(colour) & 255


def color_png(table: Sequence[Colour] | Mapping[Colour, int]) -> Decoder:
    """Decoder of RGB-coded labels.

    Args:
        table: the colour of each class in turn, or colour -> id (several colours may share one).
    """
    pairs = table.items() if isinstance(table, Mapping) else ((colour, k) for k, colour in enumerate(table))
    ids = {red << 16 | green << 8 | blue: number for (red, green, blue), number in pairs}
    codes = np.array(sorted(ids), dtype=np.int32)
    return partial(_color_png, codes=codes, ids=np.array([ids[code] for code in codes.tolist()], dtype=np.int32))


def _color_png(path: Path, codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    colours = packed_colours(path)
    places = np.searchsorted(codes, colours).clip(max=len(codes) - 1)
    unknown = codes[places] != colours
    if unknown.any():
        raise ValueError(
            f"the colours of labels must be in the colour table; {path} holds {unpacked(colours[unknown][0])} "
            f"({unknown.sum()} pixels of unknown colours): add it to the table, or mend the file"
        )
    return ids[places]
