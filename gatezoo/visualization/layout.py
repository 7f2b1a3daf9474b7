"""Layout of figures with Pillow: grids of captioned images, legends, color bars and captions that keep clear."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..utils.palette import Color, Palette
from .pixels import colorize, to_pil

if TYPE_CHECKING:
    import torch

# A captioned image of a grid; None for an empty place.
Tile = tuple[str, Image.Image | None]
# Name and color; None for what is drawn clear or hatched.
LegendEntry = tuple[str, Color | None]
# x1, y1, x2, y2.
Rectangle = tuple[float, float, float, float]

# Length of the longer side of a tile. Smaller images are enlarged by a whole number, larger ones reduced.
_MIN_TILE, _MAX_TILE = 320, 2000
_MARGIN = 8
_SMALL_BOX = 4  # times the area of its caption: smaller boxes are not covered by captions


@functools.cache
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


def font_size(width: int) -> int:
    """Return the size of text in a figure of a width, such that it can be read when the figure fills a screen."""
    return max(13, round(width / 95))


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Return the size (height, width) at which an image stands in a grid."""
    side = max(height, width)
    scale = -(-_MIN_TILE // side) if side < _MIN_TILE else min(1.0, _MAX_TILE / side)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit_map(values: np.ndarray) -> np.ndarray:
    """Resize a map (H, W), or (H, W, C), to its size in a grid, by nearest neighbor."""
    height, width = tile_size(*values.shape[:2])
    if (height, width) == values.shape[:2]:
        return values
    rows = np.arange(height) * values.shape[0] // height
    return values[rows[:, None], np.arange(width) * values.shape[1] // width]


def image_tile(image: torch.Tensor) -> Image.Image:
    """Convert an image (C, H, W), values in 0 .. 255, to its size in a grid."""
    pixels = to_pil(image)
    height, width = tile_size(*image.shape[-2:])
    resample = Image.Resampling.NEAREST if width > pixels.width else Image.Resampling.LANCZOS
    return pixels.resize((width, height), resample)


def class_tile(classes: np.ndarray, palette: Palette, ignore_index: int | None = None) -> Image.Image:
    """Draw a label map (H, W) in class colors, ignored pixels hatched, at its size in a grid."""
    classes = fit_map(classes)
    ignored = classes == ignore_index
    tile = Image.fromarray(np.array(palette, np.uint8)[np.where(ignored, 0, classes)])
    return hatched(tile, ignored) if ignored.any() else tile


def hatched(tile: Image.Image, mask: np.ndarray) -> Image.Image:
    """Return a copy of a tile with the pixels of a mask (H, W) of bool hatched, which differs from all colors."""
    y, x = np.ogrid[: tile.height, : tile.width]
    step = max(3, round(max(tile.size) / 120))
    stripes = Image.fromarray(np.where((x + y) % step, np.uint8(255), np.uint8(120))).convert("RGB")
    return Image.composite(stripes, tile, Image.fromarray(mask))


def class_legend(maps: Sequence[np.ndarray], names: Sequence[str], palette: Palette) -> list[LegendEntry]:
    """Return name and color of the classes that occur in label maps."""
    counts = sum(np.bincount(classes.ravel(), minlength=len(names)) for classes in maps)
    return [(names[k], palette[k]) for k in np.flatnonzero(counts).tolist()]


def image_grid(
    columns: Sequence[Sequence[Tile]], legend: Sequence[LegendEntry], bars: Sequence[tuple[str, Sequence[str]]] = ()
) -> Image.Image:
    """Compose columns of captioned images of one size, with color bars and a legend in lines below.

    Args:
        columns: of tiles (caption, image or None), all of one length; the first tile has an image.
        legend: name and color of each entry.
        bars: title and labels, from dark to light at equal distances, of each color bar.
    """
    first = columns[0][0][1]
    assert first is not None
    (tile_width, tile_height), rows = first.size, len(columns[0])
    width = _MARGIN + len(columns) * (tile_width + _MARGIN)
    captions = [caption for column in columns for caption, _ in column]
    size = _largest_size(captions, tile_width, font_size(width))
    font, line_height = load_font(size), round(1.45 * size)
    height = _MARGIN + rows * (line_height + tile_height + _MARGIN)
    figure = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(figure)
    for column, tiles in enumerate(columns):
        for row, (caption, tile) in enumerate(tiles):
            left = _MARGIN + column * (tile_width + _MARGIN)
            top = _MARGIN + row * (line_height + tile_height + _MARGIN)
            draw.text((left, top), caption, fill="black", font=font)
            if tile is not None:
                figure.paste(tile, (left, top + line_height))
    for title, labels in bars:
        figure = _stacked(figure, _color_bar(title, labels, min(width, 60 * size), size))
    return with_legend(figure, legend, size)


def wrapped(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Deal tiles to the columns of a grid, in rows of four or of three, whichever leaves fewer places empty."""
    count = min((4, 3), key=lambda count: -len(tiles) % count) if len(tiles) > 4 else len(tiles)
    padded = [*tiles, *[("", None)] * (-len(tiles) % count)]
    return [padded[column::count] for column in range(count)]


def with_legend(figure: Image.Image, legend: Sequence[LegendEntry], size: int) -> Image.Image:
    """Return a figure with a legend below, broken into lines, in text of a size in pixels."""
    font, line_height, swatch = load_font(size), round(1.45 * size), round(1.1 * size)
    widths = [round(swatch + 0.5 * size + font.getlength(name) + 1.2 * size) for name, _ in legend]
    width = max(figure.width, *(_MARGIN + entry for entry in widths)) if widths else figure.width
    places, x, line = [], _MARGIN, 0
    for entry in widths:
        if x + entry > width and x > _MARGIN:
            x, line = _MARGIN, line + 1
        places.append((x, line * line_height))
        x += entry
    strip = Image.new("RGB", (width, (line + 1) * line_height + 2 * _MARGIN), "white")
    draw = ImageDraw.Draw(strip)
    for (x, y), (name, color) in zip(places, legend):
        y += _MARGIN
        box = (x, y, x + swatch, y + swatch)
        draw.rectangle(box, fill=None if color is None else tuple(color), outline="grey")
        if color is None:
            draw.line((x, y + swatch, x + swatch, y), fill="grey")
        draw.text((x + swatch + 0.5 * size, y + swatch / 2), name, fill="black", font=font, anchor="lm")
    return _stacked(figure, strip)


def _largest_size(captions: Sequence[str], width: int, size: int) -> int:
    """Return the largest size up to ``size`` at which captions fit into a width, 10 at least."""
    while size > 10 and max(load_font(size).getlength(caption) for caption in captions) > width:
        size -= 1
    return size


def _color_bar(title: str, labels: Sequence[str], width: int, size: int) -> Image.Image:
    """Draw a title and the colors of :func:`colorize` from left to right, with labels below them."""
    font, line_height = load_font(size), round(1.45 * size)
    left = _MARGIN + round(font.getlength(title) + size + font.getlength(labels[0]) / 2)
    right = max(left + 10 * size, width - _MARGIN - round(font.getlength(labels[-1]) / 2))
    strip = Image.new("RGB", (right + _MARGIN + round(font.getlength(labels[-1]) / 2), 2 * line_height), "white")
    strip.paste(colorize(np.linspace(0, 1, right - left)[None].repeat(size, 0)), (left, 0))
    draw = ImageDraw.Draw(strip)
    draw.text((_MARGIN, size / 2), title, fill="black", font=font, anchor="lm")
    for place, label in zip(np.linspace(left, right, len(labels)), labels):
        draw.line((place, size, place, size + size / 4), fill="black")
        draw.text((place, size + size / 3), label, fill="black", font=font, anchor="ma")
    return strip


def _stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Return two images in one, the second below the first, on white."""
    figure = Image.new("RGB", (max(upper.width, lower.width), upper.height + lower.height), "white")
    figure.paste(upper, (0, 0))
    figure.paste(lower, (0, upper.height))
    return figure


def place_captions(
    sizes: Sequence[tuple[float, float]], boxes: Sequence[Rectangle], width: float, height: float
) -> list[Rectangle | None]:
    """Place captions at boxes, in order, so that none covers one before it or a small box, or leaves the figure.

    Args:
        sizes: width and height of each caption.
        boxes: that they belong to.
        width, height: of the figure.

    Returns:
        Rectangle of each caption: above its box if possible, else at another edge, outside or inside; None if all of
        these places are taken.
    """
    placed: list[Rectangle | None] = []
    taken: list[Rectangle] = []
    for (w, h), (x1, y1, x2, y2) in zip(sizes, boxes, strict=True):
        if (x2 - x1) * (y2 - y1) < _SMALL_BOX * w * h:
            taken.append((x1, y1, x2, y2))
    for (w, h), (x1, y1, x2, y2) in zip(sizes, boxes):
        corners = [(x, y) for y in (y1 - h, y1, y2, y2 - h, y1 + h, y1 + 2 * h) for x in (x1, x2 - w)]
        corners += [(x, (y1 + y2 - h) / 2) for x in (x2, x1 - w)]
        inside = [(max(0, min(x, width - w)), max(0, min(y, height - h))) for x, y in corners]
        candidates = [(x, y, x + w, y + h) for x, y in inside]
        free = (one for one in candidates if not any(_overlap(one, other) for other in taken))
        spot = next(free, None)
        placed.append(spot)
        if spot:
            taken.append(spot)
    return placed


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
