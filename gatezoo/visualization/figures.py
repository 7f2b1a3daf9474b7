"""Figures of label maps, instances and confusion matrices.

Two libraries draw them. Figures of ``gatezoo predict``, such as those of iterations, depth and instances, are composed
with Pillow, because they must work in a plain installation, which has no Matplotlib. Plots with axes and color bars,
the confusion matrix and the gates, use Matplotlib, which comes with the ``train`` extra.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..utils.palette import Palette, voc_palette
from .overlay import fade, highlight

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Color = tuple[int, int, int]
# A captioned image of a grid; None for an empty place.
Tile = tuple[str, Image.Image | None]

_MARGIN, _LINE_HEIGHT = 8, 20
_MIN_ENLARGED_SIDE = 1000  # small images with captions are enlarged up to this length of the longer side


def index_image(classes: np.ndarray, palette: Palette) -> Image.Image:
    """Convert a label map (H, W) to a palette image of class indices (16-bit gray for more than 256 classes)."""
    if classes.dtype != np.uint8:
        return Image.fromarray(classes.astype(np.uint16))
    image = Image.fromarray(classes)
    image.putpalette([value for color in palette for value in color])
    return image


def iterations_figure(
    image: torch.Tensor, maps: Sequence[np.ndarray], names: Sequence[str], palette: Palette
) -> Image.Image:
    """Draw an image, the label map of each iteration and, below it, the pixels that the iteration changed.

    Args:
        image: uint8 (3, H, W).
        maps: label map (H, W) of each iteration.
        names: of the classes.
        palette: color of each class.
    """
    background = Image.fromarray(image.permute(1, 2, 0).numpy())
    first: list[Tile] = [("image", background), ("", None)]
    return image_grid([first, *iteration_columns(fade(background), maps, palette)], class_legend(maps, names, palette))


def iteration_columns(background: Image.Image, maps: Sequence[np.ndarray], palette: Palette) -> list[list[Tile]]:
    """Return a column of two tiles for each iteration: its label map, and its changes on a background."""
    columns: list[list[Tile]] = []
    for number, classes in enumerate(maps, start=1):
        changes: Tile = ("", None)
        if number > 1:
            changed = classes != maps[number - 2]
            changes = (f"changed in pass {number}: {changed.mean():.1%}", highlight(background, changed))
        columns.append([(f"pass {number}", index_image(classes, palette).convert("RGB")), changes])
    return columns


def class_legend(maps: Sequence[np.ndarray], names: Sequence[str], palette: Palette) -> list[tuple[str, Color]]:
    """Return name and color of the classes that occur in label maps."""
    present = np.unique(np.concatenate([np.unique(classes) for classes in maps]))
    return [(names[k], palette[k]) for k in present]


def draw_instances(
    image: torch.Tensor,
    masks: Iterable[tuple[int, int, torch.Tensor]],
    boxes: Sequence[Sequence[float]],
    captions: Sequence[str],
    alpha: float = 0.5,
) -> Image.Image:
    """Draw instances over an image: each mask in its own color, with its box and caption.

    Where masks overlap, the color of the first instance is drawn. A small image is enlarged by a whole number, up to
    1000 pixels, so that captions do not cover the instances.

    Args:
        image: uint8 (3, H, W).
        masks: consumed one at a time, as (top, left, bool (h, w)).
        boxes: x1 y1 x2 y2 of each instance.
        captions: of each instance.
        alpha: opacity of the masks.
    """
    drawn = image.permute(1, 2, 0).numpy().copy()
    free = np.ones(drawn.shape[:2], bool)
    colors = voc_palette(len(boxes) + 1)[1:]
    for (top, left, mask), color in zip(masks, colors, strict=True):
        window = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
        visible = mask.cpu().numpy() & free[window]
        free[window] &= ~visible
        pixels = drawn[window]
        pixels[visible] = ((1 - alpha) * pixels[visible] + alpha * np.array(color)).round()
    zoom = max(1, _MIN_ENLARGED_SIDE // max(drawn.shape))
    figure = ImageOps.scale(Image.fromarray(drawn), zoom, Image.Resampling.NEAREST)
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(size=12)
    for box, caption, color in reversed(list(zip(boxes, captions, colors, strict=True))):
        x1, y1, x2, y2 = (zoom * edge for edge in box)
        draw.rectangle((x1, y1, x2, y2), outline=color)
        corner = (x1 + 2, max(0, y1 - 14))
        draw.rectangle(draw.textbbox(corner, caption, font=font), fill="black")
        draw.text(corner, caption, fill=_lighten(color), font=font)
    return figure


def _lighten(color: Color) -> Color:
    """Return a color that is light enough to be read on black."""
    red, green, blue = (max(value, 128) for value in color)
    return red, green, blue


def confusion_figure(confusion_matrix: np.ndarray, names: Sequence[str]) -> Image.Image:
    """Draw a confusion matrix n[label, prediction] (K, K), each row in per cent of the labeled pixels of its class.

    Rows of classes without labels are blank. Up to 30 classes the numbers are written into the cells.

    Raises:
        ValueError: matplotlib is not installed.
    """
    count, with_numbers = len(names), len(names) <= 30
    with np.errstate(invalid="ignore"):
        shares = confusion_matrix / confusion_matrix.sum(1, keepdims=True)
    side = 3 + count * (0.45 if with_numbers else 0.16)
    figure = new_figure("the figure of a confusion matrix", side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares >= 0.005) if with_numbers else ():
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=color)
    size = 10 if with_numbers else 6
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set_xlabel("predicted, % of the labeled pixels")
    axes.set_ylabel("labeled")
    return figure_to_image(figure)


def new_figure(title: str, width: float, height: float) -> Figure:
    """Create an empty Matplotlib figure.

    Args:
        title: noun for the figure in an error message.
        width, height: in units of 100 pixels.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(f"{title} requires matplotlib: pip install 'gatezoo[train]'") from None
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def figure_to_image(figure: Figure) -> Image.Image:
    """Render a Matplotlib figure off-screen to a PIL image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def image_grid(columns: Sequence[Sequence[Tile]], legend: Sequence[tuple[str, Color]]) -> Image.Image:
    """Compose columns of captioned images of one size, with a legend below that is broken into lines.

    Args:
        columns: of tiles (caption, image or None), all of one length; the first tile has an image.
        legend: name and color of each entry.
    """
    font = ImageFont.load_default(size=14)
    first = columns[0][0][1]
    assert first is not None
    (tile_width, tile_height), rows = first.size, len(columns[0])
    width = _MARGIN + len(columns) * (tile_width + _MARGIN)
    entries, x, line = [], _MARGIN, 0
    for name, color in legend:
        entry_width = 24 + int(font.getlength(name)) + 16
        if x + entry_width > width and x > _MARGIN:
            x, line = _MARGIN, line + 1
        entries.append((x, line, name, color))
        x += entry_width
    legend_top = _MARGIN + rows * (_LINE_HEIGHT + tile_height + _MARGIN)
    figure = Image.new("RGB", (width, legend_top + (line + 1) * _LINE_HEIGHT + _MARGIN), "white")
    draw = ImageDraw.Draw(figure)
    for column, tiles in enumerate(columns):
        for row, (caption, tile) in enumerate(tiles):
            left = _MARGIN + column * (tile_width + _MARGIN)
            top = _MARGIN + row * (_LINE_HEIGHT + tile_height + _MARGIN)
            draw.text((left, top), caption, fill="black", font=font)
            if tile is not None:
                figure.paste(tile, (left, top + _LINE_HEIGHT))
    for x, line, name, color in entries:
        y = legend_top + line * _LINE_HEIGHT
        draw.rectangle((x, y + 2, x + 16, y + 14), fill=tuple(color), outline="grey")
        draw.text((x + 22, y), name, fill="black", font=font)
    return figure
