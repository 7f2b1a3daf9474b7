"""Drawing of annotated regions as masks, at the moment when they are needed.

One convention for all formats: coordinates are continuous, the image covers [0, W] x [0, H], the pixel of row r and
column c covers [c, c + 1] x [r, r + 1], and it belongs to a region if its center (c + .5, r + .5) lies inside. Polygons
are drawn by pycocotools, which works at a fifth of a pixel. A self-intersecting polygon is filled by the even-odd rule;
several polygons of one region are joined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...utils.optional import require_package

Size = tuple[int, int]

# Memory grows with the length of an edge, so points far outside the image are refused: this many of its longer sides.
MAX_OUTSIDE = 1


class Patch(NamedTuple):
    """A mask that covers a part of an image.

    Attributes:
        top: first row of the image that it covers.
        left: first column.
        mask: bool (h, w), all of it within the image; (0, 0) for a region outside of it.
    """

    top: int
    left: int
    mask: np.ndarray

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the image that it covers."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def whole(self, size: Size) -> np.ndarray:
        """Return the mask of the whole image, bool (H, W)."""
        mask = np.zeros(size, dtype=bool)
        mask[self.place] = self.mask
        return mask


EMPTY = Patch(0, 0, np.zeros((0, 0), dtype=bool))


def check_points(points: ArrayLike, size: Size, least: int = 3) -> np.ndarray:
    """Return the points of a region, (x, y), as an array (N, 2).

    Raises:
        ValueError: fewer than ``least`` points, anything but pairs of finite numbers, or a point that is farther
            outside the image than its longer side.
    """
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if (array.size and (array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all())) or not array.size:
        raise ValueError("points must be pairs of finite numbers x, y")
    if len(array) < least:
        raise ValueError(f"a region must have at least {least} points; it has {len(array)}")
    margin = MAX_OUTSIDE * max(size)
    if (array < -margin).any() or (array > np.array(size[::-1]) + margin).any():
        raise ValueError(f"points must be in the image, {size[1]} x {size[0]}, or near it; one is far outside")
    return array


def polygon_patch(polygons: Sequence[ArrayLike], size: Size) -> Patch:
    """Draw the union of polygons.

    Args:
        polygons: the points (x, y) of each, three or more. What is outside the image is cut off.
        size: (height, width) of the image.

    Raises:
        ValueError: see :func:`check_points`; pycocotools is not installed.
    """
    coco_mask = require_package("pycocotools.mask", "polygons")
    arrays = [check_points(points, size) for points in polygons]
    box = _box(np.concatenate(arrays), size)
    if box is None:
        return EMPTY
    top, left, bottom, right = box
    moved = [(array - (left, top)).ravel().tolist() for array in arrays]
    runs = coco_mask.merge(coco_mask.frPyObjects(moved, bottom - top, right - left))
    return Patch(top, left, coco_mask.decode(runs).astype(bool))


def rectangle_points(corners: np.ndarray, degrees: float = 0) -> np.ndarray:
    """Return the corners (4, 2) of a rectangle, turned about its center, clockwise as one sees it (y points down).

    Args:
        corners: two that are opposite, (2, 2).
        degrees: angle of the turn.
    """
    (x0, y0), (x1, y1) = corners
    points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    center = points.mean(0)
    return (points - center) @ np.array([[cos, sin], [-sin, cos]]) + center


def ellipse_patch(center: ArrayLike, radii: Sequence[float], size: Size, degrees: float = 0) -> Patch:
    """Draw an ellipse: ((x - cx) / rx)^2 + ((y - cy) / ry)^2 <= 1 at the centers of the pixels.

    Args:
        center: (cx, cy).
        radii: (rx, ry), both positive.
        size: (height, width) of the image.
        degrees: turn about the center, clockwise as one sees it.

    Raises:
        ValueError: see :func:`check_points`; a radius that is not positive.
    """
    if not (min(radii) > 0 and math.isfinite(max(radii))):
        raise ValueError("a circle or an ellipse must have a positive radius")
    (middle,) = check_points(np.reshape(center, (1, -1)), size, least=1)
    reach = max(radii)
    box = _box(middle + [[-reach, -reach], [reach, reach]], size)
    if box is None:
        return EMPTY
    top, left, bottom, right = box
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    x, y = x - middle[0], y - middle[1]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = x * cos + y * sin, y * cos - x * sin
    return Patch(top, left, (x / radii[0]) ** 2 + (y / radii[1]) ** 2 <= 1)


def mask_patch(mask: np.ndarray, top: int, left: int, size: Size) -> Patch:
    """Place a mask (h, w) in an image; what is outside of it is cut off."""
    rows = slice(max(0, -top), max(0, min(mask.shape[0], size[0] - top)))
    columns = slice(max(0, -left), max(0, min(mask.shape[1], size[1] - left)))
    return Patch(max(0, top), max(0, left), np.ascontiguousarray(mask[rows, columns], dtype=bool))


def runs_mask(counts: ArrayLike, height: int, width: int) -> np.ndarray:
    """Decode run lengths, row by row, of a mask (H, W): zeros, ones, zeros, ...

    Raises:
        ValueError: a negative number, or a sum other than the number of pixels.
    """
    array = np.array(counts, dtype=np.int64)
    if (array.size and array.min() < 0) or int(array.sum()) != height * width:
        raise ValueError(
            f"run lengths must add up to the pixels of the mask, {width} x {height}; theirs is another sum"
        )
    return np.repeat(np.arange(len(array)) % 2 == 1, array).reshape(height, width)


def draw_patches(patches: Iterator[tuple[Patch, int]], size: Size, empty: int, dtype: type) -> np.ndarray:
    """Draw values one over another in a map (H, W) that is ``empty`` elsewhere."""
    out: np.ndarray = np.full(size, empty, dtype=dtype)
    for patch, value in patches:
        out[patch.place][patch.mask] = value
    return out


def _box(points: np.ndarray, size: Size) -> tuple[int, int, int, int] | None:
    """Return (top, left, bottom, right) of the pixels around points that are in the image; None if there are none."""
    left, top = np.floor(points.min(0)).clip(0).astype(int).tolist()
    right, bottom = np.ceil(points.max(0)).clip(max=size[::-1]).astype(int).tolist()
    return (top, left, bottom, right) if top < bottom and left < right else None
