"""Figures of iterations, instances, confusion matrices and calibration.

Two libraries draw the figures of this package. Those that show images are composed with Pillow (:mod:`.layout`),
because ``gatezoo predict`` must work in a plain installation, which has no Matplotlib, and pixels must stay pixels.
Plots with axes, the confusion matrix and the reliability diagram, use Matplotlib, which comes with the ``train`` extra.
"""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ..utils.palette import Color, Palette
from .layout import (
    LegendEntry,
    Tile,
    class_legend,
    class_tile,
    fit_map,
    font_size,
    image_grid,
    image_tile,
    load_font,
    place_captions,
    with_legend,
)
from .overlay import fade, highlight, outlines
from .pixels import colorize, displayable
from .pixels import index_image as index_image  # writers take it from here

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

_MIN_ENLARGED_SIDE = 1000  # small images with captions are enlarged up to this length of the longer side
_CROWDED = 30  # so many instances have smaller captions and no boxes


def iterations_figure(
    image: torch.Tensor,
    maps: Sequence[np.ndarray],
    names: Sequence[str],
    palette: Palette,
    instability: np.ndarray | None = None,
) -> Image.Image:
    """Draw an image, the label map of each iteration and, below it, the pixels that the iteration changed.

    Args:
        image: (C, H, W), values in 0 .. 255.
        maps: label map (H, W) of each iteration.
        names: of the classes.
        palette: color of each class.
        instability: of the last iteration, (H, W) in 0 .. 1; drawn below the image, up to its maximum.
    """
    background = image_tile(image)
    first: list[Tile] = [("image", background), ("", None)]
    bars = []
    if instability is not None:
        high = max(float(instability.max()), 1e-6)
        first[1] = (f"instability, mean {instability.mean():.3f}", colorize(fit_map(instability), 0, high))
        bars = [("instability", [f"{share * high:.2f}" for share in (0, 0.25, 0.5, 0.75, 1)])]
    faded = fade(background)
    columns = [first]
    for number, classes in enumerate(maps, start=1):
        changes: Tile = ("", None)
        if number > 1:
            changed = classes != maps[number - 2]
            changes = (f"changed in pass {number}: {changed.mean():.1%}", highlight(faded, fit_map(changed)))
        columns.append([(f"pass {number}", class_tile(classes, palette)), changes])
    return image_grid(columns, class_legend(maps, names, palette), bars)


def draw_instances(
    image: torch.Tensor | np.ndarray,
    masks: Iterable[tuple[int, int, torch.Tensor | np.ndarray]],
    boxes: Sequence[Sequence[float]],
    captions: Sequence[str],
    alpha: float = 0.5,
    labels: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Image.Image:
    """Draw instances over an image: each mask with its outline, box and caption, in the color of its class.

    Where masks overlap, the smaller instance is drawn. A small image is enlarged by a whole number, up to 1000 pixels,
    so that captions do not cover the instances. Captions do not cover one another: one that has no free place at its
    box is left out. Of more than 30 instances no boxes are drawn, and of a single class only the scores.

    Args:
        image: (C, H, W), values in 0 .. 255.
        masks: consumed one at a time, as (top, left, bool (h, w)) on the CPU.
        boxes: x1 y1 x2 y2 of each instance.
        captions: of each instance.
        alpha: opacity of the masks.
        labels: class of each instance; without them each has a color of its own.
        names: of all classes, by label; adds a legend below the image: the classes and the numbers of their instances.
    """
    height, width = image.shape[-2:]
    zoom = max(1, _MIN_ENLARGED_SIDE // max(height, width))
    under = displayable(image).repeat(zoom, 0).repeat(zoom, 1)
    drawn = under.copy()
    thickness = max(1, round(max(drawn.shape) / 600))
    sizes = np.full(drawn.shape[:2], np.inf, np.float32)  # of the instance at each pixel
    colors = [_instance_color(label, number) for number, label in enumerate(labels or range(len(boxes)))]
    for (top, left, mask), color in zip(masks, colors, strict=True):
        window = np.s_[zoom * top : zoom * (top + mask.shape[0]), zoom * left : zoom * (left + mask.shape[1])]
        enlarged = np.asarray(mask).repeat(zoom, 0).repeat(zoom, 1)
        visible = enlarged & (sizes[window] > enlarged.sum())
        sizes[window][visible] = enlarged.sum()
        border = outlines(np.pad(visible, thickness), thickness)[thickness:-thickness, thickness:-thickness]
        for channel, value in enumerate(color):  # one by one, for the memory
            blended = ((1 - alpha) * np.arange(256) + alpha * value).round().astype(np.uint8)
            pixels = drawn[window][..., channel]
            pixels[visible] = blended[under[window][..., channel][visible]]
            pixels[visible & border] = value
    figure = Image.fromarray(drawn)
    draw, crowded = ImageDraw.Draw(figure), len(boxes) > _CROWDED
    places = [(zoom * x1, zoom * y1, zoom * x2, zoom * y2) for x1, y1, x2, y2 in boxes]
    for place, color in () if crowded else zip(places, colors):
        draw.rectangle(place, outline=color, width=thickness)
    if crowded and labels and names is not None and len(set(labels)) == 1:
        captions = [caption.removeprefix(names[labels[0]]).strip() for caption in captions]
    size = font_size(figure.width)
    font, line_height = load_font(max(12, round(0.8 * size)) if crowded else size), 1.1 * size
    spots = place_captions(
        [(font.getlength(caption) + 6, line_height) for caption in captions], places, figure.width, figure.height
    )
    for spot, caption, color in zip(spots, captions, colors):
        if spot and caption:
            draw.rectangle(spot, fill=color)
            x1, y1, _, y2 = spot
            draw.text((x1 + 3, (y1 + y2) / 2), caption, fill=_text_color(color), font=font, anchor="lm")
    if labels is None or names is None:
        return figure
    return with_legend(figure, instance_legend(labels, names), size)


def instance_legend(labels: Sequence[int], names: Sequence[str]) -> list[LegendEntry]:
    """Return name with number and color of the classes of instances, the most frequent first."""
    counts = Counter(labels).most_common()
    return [(f"{names[label]} {count}", _instance_color(label, 0)) for label, count in counts]


def _instance_color(label: int, number: int) -> Color:
    """Return the color of a class, in one of four shades so that neighboring instances differ."""
    hue = (0.58 + label * 0.618034) % 1  # steps of the golden ratio: classes far apart on the color circle
    lightness = (0.5, 0.62, 0.4)[label % 3] + (0, 0.12, -0.08, 0.06)[number % 4]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _text_color(ground: Color) -> str:
    """Return black or white, whichever stands out from a ground."""
    red, green, blue = ground
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


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


def reliability_figure(
    confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray, ece: float | None = None
) -> Image.Image:
    """Draw a reliability diagram: accuracy over confidence in bins, above the share of the pixels in each bin.

    Args:
        confidence: mean confidence of each of B equal bins of 0 .. 1, (B,); NaN or 0 for an empty one.
        accuracy: share of correct pixels of each bin, (B,).
        count: number of pixels of each bin, (B,).
        ece: expected calibration error in 0 .. 1; default: sum of count / N * abs(accuracy - confidence).

    Raises:
        ValueError: matplotlib is not installed.
    """
    used = np.asarray(count) > 0
    confidence, accuracy = np.asarray(confidence)[used], np.asarray(accuracy)[used]
    shares = np.asarray(count) / max(1, np.sum(count))
    if ece is None:
        ece = float((shares[used] * np.abs(accuracy - confidence)).sum())
    bins = len(shares)
    edges = np.arange(bins) / bins
    figure = new_figure("the reliability diagram", 5.5, 6.5)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    upper.bar(edges[used], accuracy, 1 / bins, align="edge", color="#4878a8", edgecolor="white", label="accuracy")
    upper.plot((0, 1), (0, 1), "--", color="black", linewidth=1, label="perfect calibration")
    gap = dict(color="#d1495b", linewidth=2)
    upper.vlines(confidence, np.minimum(accuracy, confidence), np.maximum(accuracy, confidence), **gap, label="gap")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of correct pixels", title=f"ECE {ece:.1%}")
    upper.legend(loc="upper left", frameon=False)
    lower.bar(edges, 100 * shares, 1 / bins, align="edge", color="#9aa5b1", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="% of the pixels")
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
