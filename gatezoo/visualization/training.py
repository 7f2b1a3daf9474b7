"""Figures of a training: its curves, samples of its augmented data, and predictions beside their ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from ..utils.palette import Palette
from .figures import draw_instances, figure_to_image, new_figure
from .layout import LegendEntry, Tile, class_legend, hatched, image_grid
from .overlay import HIGHLIGHT_COLOR, fade, highlight, overlay
from .pixels import colorize, to_pil

CORRECT_COLOR = (120, 190, 120)
FALSE_COLOR = (0, 120, 230)
_CELL = 360  # longest side of an image of a sheet


def contact_sheet(
    rows: Sequence[Sequence[Tile]], legend: Sequence[LegendEntry], bars: Sequence[tuple[str, Sequence[str]]] = ()
) -> Image.Image:
    """Compose rows of captioned images of any sizes, each fitted into a cell of one size.

    Args:
        rows: of tiles (caption, image or None), all of one length.
        legend: name and color of each entry.
        bars: see :func:`gatezoo.visualization.layout.image_grid`.
    """
    fitted = [[(caption, tile and _fitted(tile)) for caption, tile in row] for row in rows]
    sizes = [tile.size for row in fitted for _, tile in row if tile is not None]
    width, height = (max(sides) for sides in zip(*sizes))
    for row in fitted:
        for number, (caption, tile) in enumerate(row):
            cell = Image.new("RGB", (width, height), "white")
            if tile is not None:
                cell.paste(tile, (0, 0))
            row[number] = (caption, cell)
    return image_grid(list(zip(*fitted)), legend, bars)


def _fitted(tile: Image.Image) -> Image.Image:
    scale = _CELL / max(tile.size)
    # Of a box filter the pixels of small images remain squares, and label maps get no colors of their own.
    size = max(1, round(tile.width * scale)), max(1, round(tile.height * scale))
    return tile.resize(size, Image.Resampling.BOX)


def _reduced(image: torch.Tensor, *maps: np.ndarray) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Return a large image and its maps (H, W) near the size of a cell, so that hatching remains visible in it."""
    step = -(-max(image.shape[-2:]) // _CELL)
    size = [-(-side // step) for side in image.shape[-2:]]
    return resize(image.as_subclass(torch.Tensor), size, antialias=True), [one[::step, ::step] for one in maps]


def label_tile(image: torch.Tensor, labels: np.ndarray, palette: Palette, ignore_index: int) -> Image.Image:
    """Draw a label map (H, W) over its image (C, H, W), ignored pixels hatched."""
    image, (labels,) = _reduced(image, labels)
    ignored = labels == ignore_index
    drawn = overlay(image, np.where(ignored, 0, labels).astype(labels.dtype), palette, alpha=0.6)
    return hatched(drawn, ignored) if ignored.any() else drawn


def label_legend(
    maps: Sequence[np.ndarray], names: Sequence[str], palette: Palette, ignore_index: int
) -> list[LegendEntry]:
    """Return name and color of the classes that occur in label maps, and whether pixels are ignored."""
    flat = np.concatenate([labels.ravel() for labels in maps])
    ignored = flat == ignore_index
    legend = class_legend([flat[~ignored]], names, palette)
    return legend + [("ignored (hatched)", None)] * bool(ignored.any())


def error_tile(image: torch.Tensor, labels: np.ndarray, classes: np.ndarray, ignore_index: int) -> Image.Image:
    """Draw the wrong pixels of a label map (H, W) over its pale image, ignored ones hatched."""
    image, (labels, classes) = _reduced(image, labels, classes)
    ignored = labels == ignore_index
    return highlight(hatched(fade(to_pil(image)), ignored), ~ignored & (classes != labels))


def depth_tile(depth: np.ndarray, low: float, high: float) -> Image.Image:
    """Draw depth (H, W) in metres by its logarithm, near in light colors, unknown depth hatched."""
    unknown = ~(np.isfinite(depth) & (depth > 0))
    shown = -np.log(np.where(unknown, high, depth))
    return hatched(colorize(shown, -np.log(high), -np.log(low)), unknown)


def depth_range(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the smallest and the largest known depth of maps in metres; 1 and 2 without any."""
    known = np.concatenate([np.empty(0), *(depth[np.isfinite(depth) & (depth > 0)] for depth in maps)])
    return (float(known.min()), float(known.max()) * 1.0001) if known.size else (1.0, 2.0)


def depth_bar(low: float, high: float) -> tuple[str, list[str]]:
    """Return the color bar of :func:`depth_tile`."""
    return "depth in metres", [f"{value:.1f}" for value in np.geomspace(high, low, 5)]


def instances_tile(image: torch.Tensor, found: Mapping[str, Any]) -> Image.Image:
    """Draw masks (N, H, W) of bool and boxes of instances over their image, without captions."""
    windows = [(0, 0, mask) for mask in found["masks"]]
    boxes, labels = found["boxes"].tolist(), found["labels"].tolist()
    return draw_instances(image, windows, boxes, [""] * len(boxes), labels=labels)


def instance_error_tile(
    image: torch.Tensor, truth: Mapping[str, Any], found: Mapping[str, Any]
) -> tuple[Image.Image, int]:
    """Draw found, missed and false instances over their pale image; return the number of those found, too.

    An instance is found if an instance of its class overlaps it with an IoU of .5 at least; each counts once.
    """
    true, predicted = (one["masks"].flatten(1).float() for one in (truth, found))
    common = true @ predicted.T
    union = true.sum(1)[:, None] + predicted.sum(1) - common
    ious = common / union.clamp(min=1) * (truth["labels"][:, None] == found["labels"])
    matched: set[int] = set()
    hits: set[int] = set()
    for number in range(len(predicted)):  # highest score first
        free = [(float(ious[k, number]), k) for k in range(len(true)) if k not in matched]
        if free and max(free)[0] >= 0.5:
            matched.add(max(free)[1])
            hits.add(number)
    drawn = fade(to_pil(image))
    for k in sorted(matched):
        drawn = highlight(drawn, truth["masks"][k].numpy(), CORRECT_COLOR)
    for number in set(range(len(predicted))) - hits:
        drawn = highlight(drawn, found["masks"][number].numpy(), FALSE_COLOR)
    for k in set(range(len(true))) - matched:
        drawn = highlight(drawn, truth["masks"][k].numpy(), HIGHLIGHT_COLOR)
    return drawn, len(matched)


def curves_figure(
    log: Sequence[Mapping[str, float]],
    history: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, str],
    groups: Sequence[tuple[str, float]],
) -> Image.Image:
    """Draw losses, learning rates and scores of a training over its steps.

    Args:
        log: rows with step, loss and lr, NaN where a value is missing.
        history: rows of the evaluations, with step, the metrics and, optionally, "val_loss".
        metrics: title of each metric by its key, shares in 0 .. 1. The best value of the first is marked.
        groups: name and first learning rate of the groups of parameters, whose ratios last; "lr" is that of the first.

    Raises:
        ValueError: matplotlib is not installed.
    """
    figure = new_figure("the curves of a training", 15, 4.6)
    losses, rates, scores = figure.subplots(1, 3)
    style: dict[str, Any] = dict(linewidth=1.8, marker="o", markersize=3.5)
    steps = [row["step"] for row in log]
    losses.plot(steps, [row["loss"] for row in log], label="training", color="#4878a8", **style)
    checked = [row for row in history if row.get("val_loss") is not None]
    if checked:
        values = [row["val_loss"] for row in checked]
        losses.plot([row["step"] for row in checked], values, label="validation", color="#d1495b", **style)
    losses.legend(frameon=False)
    losses.set(title="loss (training: running mean)", ylabel="loss")
    _plot_rates(rates, log, groups, style)
    rates.set(title="learning rates", ylabel="learning rate", ylim=(0, None))
    for number, (key, title) in enumerate(metrics.items()):
        values = [math.nan if row.get(key) is None else 100 * row[key] for row in history]
        scores.plot([row["step"] for row in history], values, label=title, zorder=3 - number, **style)
        if number == 0 and values:
            best = int(np.nanargmax(values)) if not np.isnan(values).all() else 0
            point = history[best]["step"], values[best]
            scores.plot(*point, "*", markersize=13, color="black", label=f"best {title}: {point[1]:.1f} %", zorder=4)
    scores.legend(frameon=False)
    scores.set(title="scores on the held-out images", ylabel="%", ylim=(0, 100))
    for axes in (losses, rates, scores):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, 1.03 * max([*steps, 1]))
    return figure_to_image(figure)


def _plot_rates(axes: Any, log: Sequence[Mapping[str, float]], groups: Sequence[tuple[str, float]], style: Any) -> None:
    """Plot the learning rates of all groups of parameters, those of one name in one color."""
    first = groups[0][1] or 1.0
    for number, name in enumerate(dict.fromkeys(name for name, _ in groups)):
        ratios = [rate / first for other, rate in groups if other == name]
        values = [[ratio * row["lr"] for ratio in ratios] for row in log]
        lines = axes.plot([row["step"] for row in log], values, color=("#4878a8", "#e08a2e")[number], **style)
        lines[0].set_label(name)
    axes.legend(frameon=False)
