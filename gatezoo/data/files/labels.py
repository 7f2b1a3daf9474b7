"""Decoders of label files: a path in, an array (H, W) of ids out. The data set maps ids to classes.

All of them can be pickled, as the worker processes of a loader require.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...utils.image_bytes import ImageFile
from ...utils.images import open_pil
from ...utils.optional import require_package

Decoder = Callable[[Path], np.ndarray]
# Decoder of images, wherever their content lies.
RasterDecoder = Callable[[ImageFile], np.ndarray]
Color = tuple[int, int, int]

INDEX_MODES = ("1", "L", "P")
INTEGER_MODES = (*INDEX_MODES, "I", "I;16", "I;16B")
# MPO is a JPEG of several images, as phones write it.
LOSSY_FORMATS = ("JPEG", "MPO")


def open_raster(path: ImageFile, what: str = "labels") -> Image.Image:
    """Load an image file whose values are numbers, such as ids or depths.

    Raises:
        ValueError: no such file, not an image, truncated, or a JPEG, whose compression changes numbers.
    """
    with open_pil(path, what) as image:
        if image.format in LOSSY_FORMATS:
            raise ValueError(f"{what} must be in a lossless format; {path} is a JPEG, which changes them: save as PNG")
    return image


def gray_levels(image: Image.Image) -> Image.Image:
    """Return a GIF of grays as those grays: GIFs have no gray mode, and programs number the grays as they like."""
    if image.format == "GIF" and image.mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3)
        if (palette == palette[:, :1]).all():
            return image.convert("L")
    return image


def index_png(path: ImageFile) -> np.ndarray:
    """Read a one-channel image as uint8, or int32 if it has more than 8 bits; of a palette image the indices.

    Of a GIF whose palette has grays only, the grays.
    """
    image = gray_levels(open_raster(path))
    if image.mode not in INTEGER_MODES:
        raise ValueError(f"labels must be an index PNG (mode L, P or I); {path} has mode {image.mode}")
    return np.array(image).astype(np.uint8 if image.mode in INDEX_MODES else np.int32, copy=False)


def instance_png(path: Path) -> np.ndarray:
    """Read a one-channel image of up to 16 bits as int32."""
    image = open_raster(path)
    if image.mode not in INTEGER_MODES:
        raise ValueError(f"instance labels must be one channel of whole numbers; {path} has mode {image.mode}")
    return np.array(image).astype(np.int32)


def foreground_png(path: Path) -> np.ndarray:
    """Read an instance map as a mask, uint8: 1 on any instance, else 0."""
    return (instance_png(path) > 0).astype(np.uint8)


def boundary_png(path: Path, radius: int) -> np.ndarray:
    """Read an instance map as classes, uint8: 0 background, 1 instance, 2 boundary between touching instances.

    A boundary pixel is on an instance, with a pixel of another one at most ``radius`` rows and columns away.
    """
    ndimage = require_package("scipy.ndimage", "boundaries of instances")
    ids = instance_png(path)
    size, inside = 2 * radius + 1, ids > 0
    highest = ndimage.maximum_filter(ids, size)
    lowest = ndimage.minimum_filter(np.where(inside, ids, np.iinfo(ids.dtype).max), size)
    return inside.astype(np.uint8) + (inside & (highest != lowest))


def packed_colors(path: ImageFile) -> np.ndarray:
    """Read an RGB or palette image as numbers R 65536 + G 256 + B, int32 (H, W)."""
    image = open_raster(path)
    if image.mode not in ("RGB", "RGBA", "P"):
        raise ValueError(f"color-coded labels must be an RGB image; {path} has mode {image.mode}")
    return pack_colors(image)


def pack_colors(image: Image.Image) -> np.ndarray:
    """Return the colors of an image as numbers R 65536 + G 256 + B, int32 (H, W)."""
    red, green, blue = np.moveaxis(np.array(image.convert("RGB")).astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def unpack_color(number: int) -> Color:
    """Return the color (R, G, B) of a number from :func:`pack_colors`."""
    return int(number) >> 16, int(number) >> 8 & 255, int(number) & 255


class ColorTable(dict[Color, int]):
    """Id of each color; several colors may have the same.

    Args:
        colors: the ids.
        tolerance: a color that is not in the table has the id of the nearest one, if no channel differs by more.
    """

    def __init__(self, colors: Mapping[Color, int], tolerance: int = 0):
        super().__init__(colors)
        if not (isinstance(tolerance, int) and 0 <= tolerance <= 255):
            raise ValueError(f"a tolerance must be a whole number in 0 .. 255; got {tolerance}: 10 is usual")
        self.tolerance = tolerance


def nearest_ids(table: Mapping[Color, int], colors: Sequence[Color]) -> list[int | None]:
    """Return the id of each color, which is in the table or within its tolerance; None for any other."""
    tolerance = table.tolerance if isinstance(table, ColorTable) else 0
    known, ids = np.array(list(table), dtype=np.int16), list(table.values())
    found: list[int | None] = []
    for color in colors:
        distances = np.abs(known - np.array(color, dtype=np.int16)).max(1)
        at = int(distances.argmin())
        found.append(ids[at] if distances[at] <= tolerance else None)
    return found


def color_png(table: Sequence[Color] | Mapping[Color, int]) -> RasterDecoder:
    """Make a decoder of RGB-coded labels.

    Args:
        table: color of each class in order, or color -> id (several colors may share one); a :class:`ColorTable` may
            have a tolerance.
    """
    table = table if isinstance(table, Mapping) else {color: k for k, color in enumerate(table)}
    ids = {red << 16 | green << 8 | blue: label_id for (red, green, blue), label_id in table.items()}
    codes = np.array(sorted(ids), dtype=np.int32)
    ids_in_order = np.array([ids[code] for code in codes.tolist()], dtype=np.int32)
    return partial(_color_png, codes=codes, ids=ids_in_order, table=table)


def _color_png(path: ImageFile, codes: np.ndarray, ids: np.ndarray, table: Mapping[Color, int]) -> np.ndarray:
    colors = packed_colors(path)
    positions = np.searchsorted(codes, colors).clip(max=len(codes) - 1)
    unknown = codes[positions] != colors
    if unknown.any() and isinstance(table, ColorTable) and table.tolerance:
        strays, inverse = np.unique(colors[unknown], return_inverse=True)
        near = nearest_ids(table, [unpack_color(code) for code in strays])
        found = ids[positions]
        found[unknown] = np.array([-1 if label_id is None else label_id for label_id in near], dtype=np.int32)[inverse]
        unknown &= found < 0
        if not unknown.any():
            return found
    if unknown.any():
        raise ValueError(
            f"the colors of labels must be in the color table; {path} holds {unpack_color(colors[unknown][0])} "
            f"({unknown.sum()} pixels of unknown colors): add it to the table, or fix the file"
        )
    return ids[positions]
