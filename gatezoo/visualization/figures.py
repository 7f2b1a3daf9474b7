"""Class maps as images."""

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


_MARGIN, _LINE = 8, 20
_ENLARGED = 1000  # the longer side of a small image with captions


def index_image(classes: np.ndarray, palette: Palette) -> Image.Image:
    """Class map (H, W) -> a palette image whose pixel values are the classes (16-bit grey beyond 256 of them)."""
    if classes.dtype != np.uint8:
        return Image.fromarray(classes.astype(np.uint16))
    image = Image.fromarray(classes)
    image.putpalette([value for colour in palette for value in colour])
    return image


def iterations_figure(
    image: torch.Tensor | None, maps: Sequence[np.ndarray], names: Sequence[str], palette: Palette
) -> Image.Image:
    """One figure: the image, the class map of each pass, and below it where that pass changed the one before.

    Without a image (None) the changes are drawn on white.
    """
    columns: list[list[tuple[str, Image.Image | None]]] = []
    faint = Image.new("RGB", maps[0].shape[::-1], "white")
    if image is not None:
        shown = Image.fromarray(image.permute(1, 2, 0).numpy())
        faint = fade(shown)
        columns.append([("image", shown), ("", None)])
    for number, classes in enumerate(maps, start=1):
        below: tuple[str, Image.Image | None] = ("", None)
        if number > 1:
            changed = classes != maps[number - 2]
            below = (f"changed in pass {number}: {changed.mean():.1%}", highlight(faint, changed))
        columns.append([(f"pass {number}", index_image(classes, palette).convert("RGB")), below])
    present = np.unique(np.concatenate([classes.ravel() for classes in maps]))
    return image_grid(columns, [(names[k], tuple(palette[k])) for k in present])


def draw_instances(
    image: torch.Tensor,
    masks: Iterable[tuple[int, int, torch.Tensor]],
    boxes: Sequence[Sequence[float]],
    captions: Sequence[str],
    alpha: float = 0.5,
) -> Image.Image:
    """Objects over the image, uint8 (3, H, W): each mask in a colour of its own, with its box and caption.

    Masks are taken one at a time, as (top, left, bool (h, w)). Where they overlap, the first object's colour stays.
    A small image is enlarged by a whole number, to at most 1000 pixels, lest captions hide what they name.
    """
    drawn = image.permute(1, 2, 0).numpy().copy()
    free = np.ones(drawn.shape[:2], bool)
    colours = voc_palette(len(boxes) + 1)[1:]
    for (top, left, mask), colour in zip(masks, colours, strict=True):
        place = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
        where = mask.cpu().numpy() & free[place]
        free[place] &= ~where
        part = drawn[place]
        part[where] = ((1 - alpha) * part[where] + alpha * np.array(colour)).round()
    zoom = max(1, _ENLARGED // max(drawn.shape))
    figure = ImageOps.scale(Image.fromarray(drawn), zoom, Image.Resampling.NEAREST)
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(size=12)
    for box, caption, colour in reversed(list(zip(boxes, captions, colours, strict=True))):
        left, top, right, bottom = (zoom * edge for edge in box)
        draw.rectangle((left, top, right, bottom), outline=colour)
        edges = draw.textbbox((left + 2, max(0, top - 14)), caption, font=font)
        draw.rectangle(edges, fill="black")
        draw.text((left + 2, max(0, top - 14)), caption, fill=_readable(colour), font=font)
    return figure


def _readable(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour, light enough to be read on black."""
    return tuple(max(value, 128) for value in colour)


def confusion_figure(matrix: np.ndarray, names: Sequence[str]) -> Image.Image:
    """Confusion matrix n[label, prediction] (K, K) as a image: a row is a class' labelled pixels, in per cent.

    Rows of classes without labels are blank. Up to 30 classes the numbers are written into the cells.

    Raises:
        ValueError: matplotlib is not installed.
    """
    count, numbers = len(names), len(names) <= 30
    with np.errstate(invalid="ignore"):
        shares = matrix / matrix.sum(1, keepdims=True)
    side = 3 + count * (0.45 if numbers else 0.16)
    figure = new_figure("the image of a confusion matrix", side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(shares >= 0.005) if numbers else ():
        ink = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=ink)
    size = 10 if numbers else 6
    axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set_xlabel("predicted, % of the labelled pixels")
    axes.set_ylabel("labelled")
    return figure_to_image(figure)


def new_figure(what: str, width: float, height: float) -> Figure:
    """A figure of matplotlib's, of so many times 100 pixels, for ``what``.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(f"{what} needs matplotlib: pip install 'gatezoo[train]'") from None
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def figure_to_image(figure: Figure) -> Image.Image:
    """A figure of matplotlib's as a image, drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def image_grid(columns, legend: list[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    """Columns of captioned images of one size, and a legend below that breaks into lines."""
    font = ImageFont.load_default(size=14)
    width, height = columns[0][0][1].size
    rows = len(columns[0])
    full = _MARGIN + len(columns) * (width + _MARGIN)
    places, x, line = [], _MARGIN, 0
    for name, colour in legend:
        wide = 24 + int(font.getlength(name)) + 16
        if x + wide > full and x > _MARGIN:
            x, line = _MARGIN, line + 1
        places.append((x, line, name, colour))
        x += wide
    top = _MARGIN + rows * (_LINE + height + _MARGIN)
    figure = Image.new("RGB", (full, top + (line + 1) * _LINE + _MARGIN), "white")
    draw = ImageDraw.Draw(figure)
    for column, tiles in enumerate(columns):
        for row, (caption, tile) in enumerate(tiles):
            left, upper = _MARGIN + column * (width + _MARGIN), _MARGIN + row * (_LINE + height + _MARGIN)
            draw.text((left, upper), caption, fill="black", font=font)
            if tile is not None:
                figure.paste(tile, (left, upper + _LINE))
    for x, line, name, colour in places:
        y = top + line * _LINE
        draw.rectangle((x, y + 2, x + 16, y + 14), fill=colour, outline="grey")
        draw.text((x + 22, y), name, fill="black", font=font)
    return figure
